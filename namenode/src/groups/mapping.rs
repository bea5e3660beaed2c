//! The format of the file of groups: that of `/etc/group`. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use dfs_types::attributes::check_principal;
use dfs_types::limits::{MAX_GROUP_LINE_BYTES, MAX_GROUPS};

/// Which groups users are in. Names of groups are shared: a short line can name one for very many users.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mapping(HashMap<String, Vec<Arc<str>>>);

/// Why a text is no mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct Mistake {
    line: usize,
    what: String,
}

impl Mapping {
    /// Reads `NAME:PASSWORD:ID:USER,USER…` a line, of which password and id do not matter; lines that are empty or begin with
    /// `#` are passed over. Several lines may name the same group. A user's groups have the order of the lines.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Mistake> {
        let (mut users, mut names) =
            (HashMap::<String, Vec<Arc<str>>>::new(), HashMap::<&str, Arc<str>>::new());
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let mistake = |what: String| Mistake { line: index + 1, what };
            let Some((group, members)) = fields(line).map_err(mistake)? else { continue };
            let group = names.entry(group).or_insert_with(|| group.into());
            for user in members {
                check_principal("user", user).map_err(|error| mistake(error.message))?;
                let groups = users.entry(user.to_owned()).or_default();
                if groups.iter().any(|known| Arc::ptr_eq(known, group)) {
                    continue;
                }
                if groups.len() == MAX_GROUPS {
                    return Err(mistake(format!("{user} is in more than {MAX_GROUPS} groups")));
                }
                groups.push(Arc::clone(group));
            }
        }
        Ok(Self(users))
    }

    /// The groups of a user, the primary one first.
    pub(super) fn groups_of(&self, user: &str) -> Vec<String> {
        self.0.get(user).into_iter().flatten().map(|group| group.as_ref().to_owned()).collect()
    }

    /// Who is in a group, ordered by name.
    pub(super) fn members_of(&self, group: &str) -> Vec<String> {
        let is_in = |groups: &Vec<Arc<str>>| groups.iter().any(|known| **known == *group);
        let mut members: Vec<String> =
            self.0.iter().filter(|(_, groups)| is_in(groups)).map(|(user, _)| user.clone()).collect();
        members.sort_unstable();
        members
    }
}

/// The group of a line and its users; `None` of a line that says nothing.
fn fields(line: &[u8]) -> Result<Option<(&str, impl Iterator<Item = &str>)>, String> {
    if line.len() > MAX_GROUP_LINE_BYTES {
        return Err(format!(
            "it is longer than {MAX_GROUP_LINE_BYTES} bytes: write several for the same group"
        ));
    }
    let line = std::str::from_utf8(line).map_err(|_| "it is no UTF-8 text".to_owned())?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut fields = line.split(':');
    let (Some(group), Some(_password), Some(_id), Some(users), None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("it is not like staff:x:50:ann,bob".to_owned());
    };
    check_principal("group", group).map_err(|error| error.message)?;
    Ok(Some((group, users.split(',').filter(move |_| !users.is_empty()))))
}

#[cfg(test)]
mod tests {
    use dfs_types::limits::MAX_PRINCIPAL_BYTES;
    use proptest::prelude::*;

    use super::*;

    fn why(text: &str) -> String {
        Mapping::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn groups_are_those_of_the_lines_in_their_order() {
        let text =
            "# who is where\n\nstaff:x:50:ann,bob\r\n  \nsupergroup::0:ann\nempty:x:7:\nstaff:!::carl,ann";
        let mapping = Mapping::parse(text.as_bytes()).unwrap();
        assert_eq!(mapping.groups_of("ann"), ["staff", "supergroup"]);
        assert_eq!(mapping.groups_of("carl"), ["staff"]);
        assert!(mapping.groups_of("eve").is_empty() && mapping.groups_of("").is_empty());
        assert_eq!(mapping.members_of("staff"), ["ann", "bob", "carl"]);
        assert!(mapping.members_of("empty").is_empty() && mapping.members_of("nobody").is_empty());
        assert_eq!(Mapping::parse(b"").unwrap(), Mapping::default());
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (text, says) in [
            ("a:x:1:u\nstaff", "line 2: it is not like staff:x:50:ann,bob"),
            ("staff:x:50", "line 1: it is not like"),
            ("staff:x:50:ann:bob", "line 1: it is not like"),
            ("\n\n:x:50:ann", "line 3: the group name has 0 bytes"),
            ("staff:x:50:ann,", "line 1: the user name has 0 bytes"),
            ("staff:x:50:a\tb", "control character"),
        ] {
            assert!(why(text).contains(says), "{text}: {}", why(text));
        }
        assert_eq!(
            Mapping::parse(b"staff:x:50:\xff").unwrap_err().to_string(),
            "line 1: it is no UTF-8 text"
        );
    }

    #[test]
    fn everything_has_a_bound() {
        let long = "u".repeat(MAX_PRINCIPAL_BYTES + 1);
        assert!(why(&format!("g:x:1:{long}")).contains("user name has 256 bytes"));
        assert!(why(&format!("g:x:1:{}", "u,".repeat(MAX_GROUP_LINE_BYTES / 2))).contains("several"));
        let line = |number| format!("g{number}:x:1:ann");
        let lines = |count| (0..count).map(line).collect::<Vec<_>>().join("\n");
        let most = Mapping::parse(lines(MAX_GROUPS).as_bytes()).unwrap();
        assert_eq!(most.groups_of("ann").len(), MAX_GROUPS);
        assert!(why(&lines(MAX_GROUPS + 1)).starts_with("line 1025: ann is in more than 1024"));
    }

    proptest! {
        #[test]
        fn whatever_a_file_has_it_is_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _read_or_not = Mapping::parse(&text);
        }

        #[test]
        fn what_is_read_can_be_a_caller(text in "([ab:,#\n ]|a:x:1:|,u|\n){0,40}") {
            if let Ok(mapping) = Mapping::parse(text.as_bytes()) {
                for (user, groups) in &mapping.0 {
                    let caller = dfs_types::Caller::new(user.clone(), mapping.groups_of(user)).unwrap();
                    prop_assert!(!groups.is_empty());
                    for group in caller.groups {
                        prop_assert!(mapping.members_of(&group).contains(user));
                    }
                }
            }
        }
    }
}
