//! `getfacl`, `setfacl`, `getfattr` and `setfattr`, by several users.

use anyhow::{Result, ensure};

use super::shell::Shell;

/// A script by one of several users, who may not do it.
async fn refused(shell: &Shell, script: &str) -> Result<()> {
    let ended = shell.run(script).await?;
    ensure!(
        ended.status == Some(1) && ended.stderr.contains("ermission denied"),
        "{script}: status {:?}: {}{}",
        ended.status,
        ended.stdout,
        ended.stderr
    );
    Ok(())
}

async fn shows(shell: &Shell, script: &str, expected: &str) -> Result<()> {
    let shown = shell.ok(script).await?;
    ensure!(shown == expected, "{script}: printed\n{shown}instead of\n{expected}");
    Ok(())
}

/// Who is let in, by whom, and what of it is shown.
pub(super) async fn access(shell: &Shell) -> Result<()> {
    shell.ok("dfs mkdir /team && dfs chown ann:staff /team && dfs chmod 1750 /team").await?;
    refused(shell, "dfs --user bob ls /team").await?;
    refused(shell, "dfs --user bob setfacl -m user:bob:rwx /team").await?;
    shell.ok("dfs --user ann setfacl -m user:bob:rwx,group:crew:r-x /team").await?;
    shell.ok("dfs --user bob ls /team").await?;
    shell.ok("echo one | dfs --user bob put - /team/f").await?;
    shell.ok("dfs chmod g-w /team").await?;
    refused(shell, "echo two | dfs --user bob put - /team/g").await?;
    let expected = "# file: /team\n# owner: ann\n# group: staff\n# flags: --T\nuser::rwx\n\
                    user:bob:rwx\t#effective:r-x\ngroup::r-x\ngroup:crew:r-x\nmask::r-x\nother::---\n\n";
    shows(shell, "dfs getfacl /team", expected).await?;
    shell.prints("dfs ls -ld /team | cut -c-11", "drwxr-x--T+").await?;
    shell.prints("dfs ls -o json -d /team | grep -o 'has_acl\":true'", "has_acl\":true").await?;
    shell.prints("dfs stat /team | grep -o 'rwx.*T+'", "rwxr-x--T+").await?;
    let json = shell.ok("dfs getfacl -o json /team/f").await?;
    let shown: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(shown[0]["entries"] == serde_json::json!(["user::rw-", "group::r--", "other::r--"]), "{shown}");

    // A file that takes its place has no ACL, and its group no more rights than before.
    shell
        .ok("dfs setfacl -m user:eve:rwx,group::--- /team/f && dfs stat /team/f | grep -o 'rw-rwxr--+'")
        .await?;
    shell.ok("echo three | dfs put -f - /team/f && dfs stat /team/f | grep -o '(rw----r--)'").await?;

    shell.ok("dfs setfacl -x group:crew,user:bob /team").await?;
    refused(shell, "dfs --user bob ls /team").await?;
    shell.ok("dfs setfacl -x mask /team").await?;
    shell.prints("dfs ls -ld /team | cut -c-11", "drwxr-x--T").await?;
    shell.fails(1, "dfs setfacl -x other /team", "are required").await?;
    shell.fails(1, "dfs setfacl --set user:bob:r-x /team", "are required").await?;
    shell.ok("dfs setfacl --set u::rwx,u:bob:r,g::r,o::- /team").await?;
    shell.prints("dfs getfacl /team | grep bob", "user:bob:r--").await?;
    shell.ok("dfs --user ann setfacl -b /team").await?;
    shell.fails(3, "dfs getfacl /none", "/none").await?;
    shell.fails(2, "dfs setfacl -m bob:rwx /team", "aclSpec").await
}

/// What is made in a directory with default entries.
pub(super) async fn inheritance(shell: &Shell) -> Result<()> {
    shell.ok("dfs mkdir /in && dfs chmod 757 /in && dfs setfacl -m d:u:bob:rwx,d:o::- /in").await?;
    shell
        .ok("mkdir -p tree/below && echo x > tree/below/f && chmod 660 tree/below/f &&
             dfs --user ann put -r tree /in && dfs --user ann touch /in/t && dfs --user ann mkdir -p /in/a/b")
        .await?;
    let file = "user::rw-,user:bob:rwx,group::r-x,mask::rw-,other::---,";
    let directory = "user::rwx,user:bob:rwx,group::r-x,mask::rwx,other::---,default:user::rwx,default:user:bob:rwx,\
                     default:group::r-x,default:mask::rwx,default:other::---,";
    // Local modes limit what is copied: the mask of a folder of mode 755 lets nobody write.
    let copied = directory.replacen("mask::rwx", "mask::r-x", 1);
    for (at, expected) in [
        ("tree", copied.as_str()),
        ("tree/below", &copied),
        ("tree/below/f", file),
        ("t", file),
        ("a", directory),
        ("a/b", directory),
    ] {
        let entries = format!("dfs getfacl /in/{at} | grep '^[a-z]' | cut -f1 | tr '\\n' ','");
        shows(shell, &entries, expected).await?;
    }
    // Files on the way get no default entries.
    shell.ok("dfs setfacl -R -m user:eve:r-x,default:user:eve:r-x /in").await?;
    shell.ok("dfs --user eve cat /in/tree/below/f").await?;
    shell.prints("dfs getfacl -R /in | grep -c default:user:eve", "5").await?;
    shell.fails(1, "dfs setfacl -m default:user:eve:r-x /in/t", "only directories").await?;
    shell.ok("dfs setfacl -R -k /in").await?;
    shell.prints("dfs getfacl -R /in | grep -c default || true", "0").await?;
    shell.ok("dfs --user eve cat /in/tree/below/f").await.map(drop)
}

/// Extended attributes: values, spaces and rights.
pub(super) async fn values(shell: &Shell) -> Result<()> {
    shell.ok("dfs touch /x/f && dfs chown ann /x/f && dfs chmod 640 /x/f").await?;
    shell.ok("dfs --user ann setfattr -n user.origin -v 'a scanner' /x/f").await?;
    shell
        .ok("dfs --user ann setfattr -n user.empty /x/f && dfs setfattr -n trusted.key -v 0x00ff /x/f")
        .await?;
    refused(shell, "dfs --user bob setfattr -n user.origin -v x /x/f").await?;
    refused(shell, "dfs --user bob getfattr -d /x/f").await?;
    refused(shell, "dfs --user ann getfattr -n trusted.key /x/f").await?;
    refused(shell, "dfs setfattr -n system.key -v 1 /x/f").await?;
    let own = "# file: /x/f\nuser.empty\nuser.origin=\"a scanner\"\n";
    shows(shell, "dfs --user ann getfattr -d /x/f", own).await?;
    shows(shell, "dfs getfattr -d /x/f", &format!("{own}trusted.key=0sAP8=\n")).await?;
    shows(shell, "dfs getfattr -n trusted.key -e hex /x/f", "# file: /x/f\ntrusted.key=0x00ff\n").await?;
    shell.ok("dfs mv /x/f /x/g").await?;
    shows(shell, "dfs getfattr -R -n user.origin /x/g", "# file: /x/g\nuser.origin=\"a scanner\"\n").await?;
    shell.ok("dfs --user ann setfattr -x user.origin /x/g").await?;
    shell.fails(3, "dfs getfattr -n user.origin /x/g", "has no XAttr user.origin").await?;
    shell.fails(3, "dfs setfattr -x user.origin /x/g", "has no XAttr user.origin").await?;
    shell.fails(2, "dfs setfattr -n origin -v x /x/g", "prefixed").await?;
    let json = shell.ok("dfs getfattr -d -o json /x/g").await?;
    let shown: serde_json::Value = serde_json::from_str(&json)?;
    let expected = serde_json::json!([{ "name": "user.empty", "value": "\"\"" }, { "name": "trusted.key", "value": "0sAP8=" }]);
    ensure!(shown[0]["xattrs"] == expected, "{shown}");
    Ok(())
}
