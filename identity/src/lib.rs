//! Who this process runs as.
//!
//! The one place where a user id becomes a name. A NameNode calls whoever runs it the superuser and gives him the root
//! directory; a client presents whoever runs it. Both must say the same of the same user, also where `/etc/passwd` does not
//! know him: OpenShift and `runAsUser` give a container any id they like.

use std::fs::File;
use std::io::Read as _;

use dfs_types::names::ENV_USER;
use dfs_types::{Caller, FsResult};

/// Most bytes read of `/etc/passwd` and `/etc/group`.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The user of this process: [`ENV_USER`] if it says something, else the name of the process's user id in `/etc/passwd`, else
/// the id itself in digits. Reads a file.
pub fn process_user() -> String {
    user(std::env::var(ENV_USER).ok(), &read("/etc/passwd"), rustix::process::getuid().as_raw())
}

/// A caller: the user if one is given, else that of this process; the groups if they are given, else the user's of
/// `/etc/passwd` and `/etc/group`. Reads files. Fails if a name can't be one.
pub fn caller(given_user: Option<String>, given_groups: Option<Vec<String>>) -> FsResult<Caller> {
    let user = given_user.unwrap_or_else(process_user);
    let groups = given_groups.unwrap_or_else(|| groups_of(&read("/etc/passwd"), &read("/etc/group"), &user));
    Caller::new(user, groups)
}

/// The file's text; empty if it can't be read, as in an image without one.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

/// [`process_user`], of what it looks at.
fn user(named: Option<String>, passwd: &str, uid: u32) -> String {
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let uid = uid.to_string();
        let name = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            (fields.nth(1)? == uid).then(|| name.to_owned())
        });
        name.unwrap_or(uid)
    })
}

/// The groups of a user, the primary one first.
fn groups_of(passwd: &str, group: &str, user: &str) -> Vec<String> {
    let primary = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then(|| fields.nth(2))?
    });
    let mut groups = Vec::new();
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, members, ..] = fields[..] else { continue };
        if Some(id) == primary {
            groups.insert(0, name.to_owned());
        } else if members.split(',').any(|member| member == user) {
            groups.push(name.to_owned());
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100::/home/alice:/bin/sh\nbroken\n:x:5:5::/:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,alice\nusers:x:100:\nbad:x\nops:x:7:bob\n";

    #[test]
    fn a_user_has_one_name() {
        for (named, uid, name) in [
            (None, 0, "root"),
            (None, 1_000, "alice"),
            (None, 4_711, "4711"),
            (None, 5, "5"),
            (Some("carol"), 1_000, "carol"),
            (Some(""), 1_000, "alice"),
        ] {
            assert_eq!(user(named.map(str::to_owned), PASSWD, uid), name);
        }
        assert_eq!(user(None, "", 4_711), "4711");
        // Whatever it is called, it can be presented.
        Caller::new(user(None, "", u32::MAX), Vec::new()).unwrap();
    }

    #[test]
    fn groups_are_found_the_primary_one_first() {
        assert_eq!(groups_of(PASSWD, GROUP, "alice"), ["users", "wheel"]);
        assert_eq!(groups_of(PASSWD, GROUP, "bob"), ["ops"]);
        assert!(groups_of(PASSWD, GROUP, "nobody").is_empty());
        assert!(groups_of(PASSWD, GROUP, "4711").is_empty());
    }

    #[test]
    fn what_is_given_wins() {
        let given = caller(Some("carol".into()), Some(vec!["art".into()])).unwrap();
        assert_eq!((given.user.as_str(), &given.groups[..]), ("carol", &["art".to_owned()][..]));
        assert!(caller(Some("a:b".into()), None).is_err());
        assert_eq!(caller(None, None).unwrap().user, process_user());
    }
}
