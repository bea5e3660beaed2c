//! Without the kernel: what a cut leaves of names.

use std::ffi::OsStr;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Access, PAGE, ROOT, Taken, Tree};

const ACCESS: Access = Access { perm: 0o755, uid: 0, gid: 0 };

fn tree() -> Tree {
    Tree::new(64 << 20, false, ACCESS)
}

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

/// Every file's and directory's path.
fn paths(tree: &Tree) -> Vec<String> {
    let (mut found, mut waiting) = (Vec::new(), vec![(ROOT, String::new())]);
    while let Some((directory, path)) = waiting.pop() {
        for (name, attributes) in tree.list(directory).unwrap() {
            let path = format!("{path}/{}", name.to_str().unwrap());
            found.push(path.clone());
            if attributes.is_directory {
                waiting.push((attributes.inode, path));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_change_brings_those_before_it_along() {
    for seed in 0..50 {
        let mut tree = tree();
        let a = tree.make(ROOT, name("a"), true, ACCESS).unwrap().inode;
        let b = tree.make(ROOT, name("b"), true, ACCESS).unwrap().inode;
        tree.sync(ROOT).unwrap();
        tree.make(a, name("x"), false, ACCESS).unwrap();
        tree.rename((a, name("x")), (a, name("y")), Taken::Replace).unwrap();
        tree.rename((a, name("y")), (b, name("z")), Taken::Replace).unwrap();
        // The last step is of both directories, so it and all before it are durable with the second.
        tree.sync(b).unwrap();
        tree.cut(seed);
        assert_eq!(paths(&tree), ["/a", "/b", "/b/z"], "seed {seed}");
    }
}

#[test]
fn directories_never_end_up_below_themselves() {
    for seed in 0..500 {
        let mut tree = tree();
        let a = tree.make(ROOT, name("a"), true, ACCESS).unwrap().inode;
        let b = tree.make(ROOT, name("b"), true, ACCESS).unwrap().inode;
        tree.sync(ROOT).unwrap();
        tree.rename((ROOT, name("a")), (b, name("a")), Taken::Replace).unwrap();
        tree.rename((b, name("a")), (ROOT, name("c")), Taken::Replace).unwrap();
        tree.rename((ROOT, name("b")), (a, name("b")), Taken::Replace).unwrap();
        tree.cut(seed);
        assert_eq!(paths(&tree).len(), 2, "seed {seed}: a directory was lost: {:?}", paths(&tree));
    }
}

/// A random walk; then everything is removed and synced, and nothing may be left of it.
#[test]
fn nothing_is_kept_that_nobody_can_reach() {
    for seed in 0..100 {
        let (mut tree, mut random) = (tree(), SmallRng::seed_from_u64(seed));
        let mut directories = vec![ROOT];
        for step in 0..300 {
            let parent = directories[random.random_range(0..directories.len())];
            let text = format!("n{}", random.random_range(0..12));
            let found = tree.lookup(parent, name(&text)).ok();
            // Who is told an error here did what a program may do.
            match (random.random_range(0..8), found) {
                (0, _) => {
                    directories.extend(tree.make(parent, name(&text), true, ACCESS).map(|made| made.inode));
                }
                (1 | 2, _) => {
                    let _ = tree.make(parent, name(&text), false, ACCESS);
                }
                (3, Some(found)) => {
                    let _ = tree.remove(parent, name(&text), found.is_directory);
                }
                (4, Some(found)) if !found.is_directory => {
                    let _ = tree.write(found.inode, random.random_range(0..20_000), &[step as u8; 5_000]);
                }
                (5, Some(found)) if !found.is_directory => {
                    let to = directories[random.random_range(0..directories.len())];
                    let _ = tree.rename((parent, name(&text)), (to, name("moved")), Taken::Replace);
                }
                (6, _) => {
                    let _ = tree.sync(parent);
                }
                (7, Some(found)) => {
                    let _ = tree.sync(found.inode);
                }
                _ => {}
            }
            if step % 97 == 96 {
                tree.cut(seed + step);
            }
        }
        clear(&mut tree, ROOT);
        tree.write_back();
        let room = tree.room();
        assert_eq!((room.inodes, room.free, tree.retained), (1, room.total, 0), "seed {seed}");
    }
}

fn clear(tree: &mut Tree, directory: u64) {
    for (name, found) in tree.list(directory).unwrap() {
        if found.is_directory {
            clear(tree, found.inode);
        }
        tree.remove(directory, &name, found.is_directory).unwrap();
    }
}

#[test]
fn what_is_not_synced_takes_bounded_memory() {
    let mut tree = tree();
    let file = tree.make(ROOT, name("file"), false, ACCESS).unwrap().inode;
    tree.write(file, 0, &vec![1; 60 << 20]).unwrap();
    tree.sync(file).unwrap();
    for round in 0..4 {
        tree.write(file, 0, &vec![round; 60 << 20]).unwrap();
        let bytes = (tree.used + tree.retained) * PAGE as u64;
        assert!(bytes <= (64 + 64) << 20, "{bytes} bytes are kept");
    }
}
