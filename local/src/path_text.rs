//! Paths as text, for output that can only be text.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serializer;

/// An absolute path as text that tells every byte: itself, or, if it is not UTF-8, as a `file://` URL, which no absolute path
/// looks like.
pub fn path_text(path: &Path) -> String {
    if let Some(text) = path.to_str() {
        return text.to_owned();
    }
    let mut text = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// For `serialize_with`: [`path_text`].
pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path_text(path))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn every_byte_is_told() {
        let text = |bytes| path_text(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(text(b"/a b/\xc3\xa9%"), "/a b/é%");
        assert_eq!(text(b"/a b/\xff%\n"), "file:///a%20b/%FF%25%0A");
    }
}
