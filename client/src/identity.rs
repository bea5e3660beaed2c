//! Who the caller is: user and groups from the environment and the system's files.

use std::fs::File;
use std::io::Read as _;

use dfs_types::names::ENV_USER;
use dfs_types::{Caller, FsResult};

/// Most bytes read of `/etc/passwd` and `/etc/group`.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What of the caller was given; the rest is looked up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) user: Option<String>,
    pub(crate) groups: Option<Vec<String>>,
}

/// Completes the caller: user from [`ENV_USER`] or the process's user id, groups from the system's files. Reads files.
pub(crate) fn complete(given: Given) -> FsResult<Caller> {
    let passwd = read("/etc/passwd");
    let user = given
        .user
        .or_else(|| std::env::var(ENV_USER).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| user_of(&passwd, rustix::process::getuid().as_raw()));
    let groups = given.groups.unwrap_or_else(|| groups_of(&passwd, &read("/etc/group"), &user));
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

/// The name of a user id; the number itself if it has none (an arbitrary user id in a container).
fn user_of(passwd: &str, uid: u32) -> String {
    let uid = uid.to_string();
    passwd
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid).then(|| name.to_owned())
        })
        .unwrap_or(uid)
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

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100::/home/alice:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,alice\nusers:x:100:\nbad:x\nops:x:7:bob\n";

    #[test]
    fn finds_names_and_groups() {
        assert_eq!(user_of(PASSWD, 1000), "alice");
        assert_eq!(user_of(PASSWD, 4711), "4711");
        assert_eq!(groups_of(PASSWD, GROUP, "alice"), ["users", "wheel"]);
        assert_eq!(groups_of(PASSWD, GROUP, "bob"), ["ops"]);
        assert!(groups_of(PASSWD, GROUP, "nobody").is_empty());
    }

    #[test]
    fn what_is_given_wins() {
        let given = Given { user: Some("carol".into()), groups: Some(vec!["art".into()]) };
        let caller = complete(given).unwrap();
        assert_eq!((caller.user.as_str(), &caller.groups[..]), ("carol", &["art".to_owned()][..]));
        assert!(complete(Given { user: Some("a:b".into()), groups: None }).is_err());
    }
}
