//! ACLs and extended attributes, as clients hear of them and as they are stored.

use dfs_types::{
    Acl, AclChange, AclEntry, AclKey, AclKind, AclScope, AclStatus, FsError, FsResult, Perm, Xattr,
    XattrName, XattrSetFlag, XattrSpace,
};

use super::values::{file_status, missing, wire_file_status};
use crate::{stored, v1};

macro_rules! attributes {
    ($(in $wire:ident: $list:ident, $empty:ident, $change:path;)*) => {$(
        impl From<AclKey> for $wire::AclEntry {
            fn from(key: AclKey) -> Self {
                AclEntry { key, perm: Perm::NONE }.into()
            }
        }

        impl From<AclEntry> for $wire::AclEntry {
            fn from(AclEntry { key: AclKey { scope, kind, name }, perm }: AclEntry) -> Self {
                let scope = match scope {
                    AclScope::Access => $wire::AclScope::Access,
                    AclScope::Default => $wire::AclScope::Default,
                };
                let kind = match kind {
                    AclKind::User => $wire::AclKind::User,
                    AclKind::Group => $wire::AclKind::Group,
                    AclKind::Mask => $wire::AclKind::Mask,
                    AclKind::Other => $wire::AclKind::Other,
                };
                let name = name.unwrap_or_default();
                Self { scope: scope.into(), kind: kind.into(), name, perm: perm.bits() }
            }
        }

        impl TryFrom<$wire::AclEntry> for AclEntry {
            type Error = FsError;

            fn try_from(entry: $wire::AclEntry) -> FsResult<Self> {
                let scope = match entry.scope() {
                    $wire::AclScope::Access => AclScope::Access,
                    $wire::AclScope::Default => AclScope::Default,
                    $wire::AclScope::Unspecified => return Err(missing("entry.scope")),
                };
                let kind = match entry.kind() {
                    $wire::AclKind::User => AclKind::User,
                    $wire::AclKind::Group => AclKind::Group,
                    $wire::AclKind::Mask => AclKind::Mask,
                    $wire::AclKind::Other => AclKind::Other,
                    $wire::AclKind::Unspecified => return Err(missing("entry.kind")),
                };
                let name = (!entry.name.is_empty()).then_some(entry.name);
                Ok(Self { key: AclKey { scope, kind, name }, perm: Perm::new(entry.perm)? })
            }
        }

        impl From<Vec<AclEntry>> for $wire::$list {
            fn from(entries: Vec<AclEntry>) -> Self {
                Self { entries: entries.into_iter().map(Into::into).collect() }
            }
        }

        impl TryFrom<$wire::$list> for Vec<AclEntry> {
            type Error = FsError;

            fn try_from(list: $wire::$list) -> FsResult<Self> {
                list.entries.into_iter().map(TryInto::try_into).collect()
            }
        }

        impl From<AclChange> for $change {
            fn from(change: AclChange) -> Self {
                match change {
                    AclChange::Set(entries) => Self::Set(entries.into()),
                    AclChange::Modify(entries) => Self::Modify(entries.into()),
                    AclChange::RemoveEntries(keys) => {
                        let entries = keys.into_iter().map(Into::into).collect();
                        Self::RemoveEntries($wire::$list { entries })
                    }
                    AclChange::Remove => Self::Remove($wire::$empty {}),
                    AclChange::RemoveDefault => Self::RemoveDefault($wire::$empty {}),
                }
            }
        }

        impl TryFrom<$change> for AclChange {
            type Error = FsError;

            fn try_from(change: $change) -> FsResult<Self> {
                use $change as Change;
                Ok(match change {
                    Change::Set(list) => Self::Set(list.try_into()?),
                    Change::Modify(list) => Self::Modify(list.try_into()?),
                    Change::RemoveEntries(list) => {
                        let entries: Vec<AclEntry> = list.try_into()?;
                        Self::RemoveEntries(entries.into_iter().map(|entry| entry.key).collect())
                    }
                    Change::Remove(_) => Self::Remove,
                    Change::RemoveDefault(_) => Self::RemoveDefault,
                })
            }
        }

        impl From<XattrSetFlag> for $wire::XattrSetFlag {
            fn from(flag: XattrSetFlag) -> Self {
                match flag {
                    XattrSetFlag::CreateOrReplace => Self::CreateOrReplace,
                    XattrSetFlag::Create => Self::Create,
                    XattrSetFlag::Replace => Self::Replace,
                }
            }
        }

        impl From<$wire::XattrSetFlag> for XattrSetFlag {
            fn from(flag: $wire::XattrSetFlag) -> Self {
                match flag {
                    $wire::XattrSetFlag::CreateOrReplace => Self::CreateOrReplace,
                    $wire::XattrSetFlag::Create => Self::Create,
                    $wire::XattrSetFlag::Replace => Self::Replace,
                }
            }
        }
    )*};
}

attributes! {
    in v1: AclEntries, Empty, v1::change_acl_request::Change;
    in stored: Acl, Nothing, stored::change_acl::Change;
}

impl From<AclStatus> for v1::GetAclReply {
    fn from(AclStatus { status, acl }: AclStatus) -> Self {
        let entries = acl.as_ref().map(Acl::entries).unwrap_or_default();
        Self {
            status: Some(wire_file_status(status)),
            entries: entries.iter().cloned().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::GetAclReply> for AclStatus {
    type Error = FsError;

    fn try_from(v1::GetAclReply { status, entries }: v1::GetAclReply) -> FsResult<Self> {
        let entries = entries.into_iter().map(TryInto::try_into).collect::<FsResult<_>>()?;
        let status = file_status(status.ok_or_else(|| super::incomplete("status"))?)?;
        Ok(Self { status, acl: Acl::from_entries(entries)? })
    }
}

impl From<Xattr> for v1::Xattr {
    fn from(Xattr { name, value }: Xattr) -> Self {
        Self { name: name.to_string(), value }
    }
}

impl TryFrom<v1::Xattr> for Xattr {
    type Error = FsError;

    fn try_from(v1::Xattr { name, value }: v1::Xattr) -> FsResult<Self> {
        Ok(Self { name: name.parse()?, value })
    }
}

impl From<XattrSpace> for stored::XattrSpace {
    fn from(space: XattrSpace) -> Self {
        match space {
            XattrSpace::User => Self::User,
            XattrSpace::Trusted => Self::Trusted,
            XattrSpace::Security => Self::Security,
            XattrSpace::System => Self::System,
            XattrSpace::Raw => Self::Raw,
        }
    }
}

/// Reads a stored name.
pub fn xattr_name(space: stored::XattrSpace, name: String) -> FsResult<XattrName> {
    let space = match space {
        stored::XattrSpace::User => XattrSpace::User,
        stored::XattrSpace::Trusted => XattrSpace::Trusted,
        stored::XattrSpace::Security => XattrSpace::Security,
        stored::XattrSpace::System => XattrSpace::System,
        stored::XattrSpace::Raw => XattrSpace::Raw,
        stored::XattrSpace::Unspecified => return Err(missing("space")),
    };
    XattrName::new(space, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_acls_come_back_as_they_went() {
        let entries = AclEntry::parse_list("user:bob:r-x,default:group::rw-,m::r,o::-").unwrap();
        let keys = AclKey::parse_list("user:bob,default:mask").unwrap();
        for change in [
            AclChange::Set(entries.clone()),
            AclChange::Set(Vec::new()),
            AclChange::Modify(entries),
            AclChange::RemoveEntries(keys),
            AclChange::Remove,
            AclChange::RemoveDefault,
        ] {
            let wire = v1::change_acl_request::Change::from(change.clone());
            assert_eq!(AclChange::try_from(wire).unwrap(), change);
            let kept = stored::change_acl::Change::from(change.clone());
            assert_eq!(AclChange::try_from(kept).unwrap(), change);
        }
    }

    #[test]
    fn entries_that_say_too_little_or_too_much_are_refused() {
        let whole = v1::AclEntry::from("user:bob:r-x".parse::<AclEntry>().unwrap());
        for wrong in [
            v1::AclEntry { scope: 0, ..whole.clone() },
            v1::AclEntry { kind: 9, ..whole.clone() },
            v1::AclEntry { perm: 8, ..whole },
        ] {
            assert!(AclEntry::try_from(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn stored_names_keep_their_space() {
        for text in ["user.a", "trusted.a", "security.a", "system.a", "raw.a"] {
            let name: XattrName = text.parse().unwrap();
            assert_eq!(xattr_name(name.space().into(), name.name().to_owned()).unwrap(), name);
        }
        assert!(xattr_name(stored::XattrSpace::Unspecified, "a".to_owned()).is_err());
    }
}
