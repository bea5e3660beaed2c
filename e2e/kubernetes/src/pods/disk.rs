//! What lies on a DataNode's disks: volumes here are directories of a machine, and are looked at from there.

use anyhow::{Context, Result, bail, ensure};
use dfs_failure::cluster::{Daemon, StoredReplica};
use dfs_types::{ChunkId, GenStamp};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;

use super::Pods;

/// Bytes that are flipped in a row: more than one checksum covers.
const DAMAGE: u64 = 600;

/// A volume's directory on its machine.
struct Directory {
    machine: String,
    path: String,
}

impl Pods {
    /// Where the volumes of a DataNode lie.
    async fn directories(&self, daemon: Daemon) -> Result<Vec<Directory>> {
        let volumes: Api<PersistentVolume> = Api::all(self.ground.client());
        let mut all = Vec::new();
        for claim in self.claims(daemon) {
            let bound = self.api::<PersistentVolumeClaim>().get(&claim).await?;
            let volume = bound.spec.and_then(|spec| spec.volume_name);
            let volume = volume.with_context(|| format!("claim {claim} is not bound"))?;
            let spec = volumes.get(&volume).await?.spec.with_context(|| format!("{volume} has no spec"))?;
            let path = spec
                .host_path
                .map(|source| source.path)
                .or_else(|| spec.local.map(|source| source.path))
                .with_context(|| format!("{volume} is no directory of a machine"))?;
            let terms =
                spec.node_affinity.and_then(|affinity| affinity.required).map(|all| all.node_selector_terms);
            let machine = terms
                .into_iter()
                .flatten()
                .flat_map(|term| term.match_expressions.unwrap_or_default())
                .find(|wanted| wanted.key == "kubernetes.io/hostname")
                .and_then(|wanted| wanted.values?.into_iter().next())
                .with_context(|| format!("{volume} does not say which machine it is of"))?;
            all.push(Directory { machine, path });
        }
        Ok(all)
    }

    /// The finalized replicas, each with the directory and file it is.
    async fn files(&self, daemon: Daemon) -> Result<Vec<(StoredReplica, String, String)>> {
        let machines = self.machines()?;
        let mut found = Vec::new();
        for Directory { machine, path } in self.directories(daemon).await? {
            // What a running DataNode moves or removes meanwhile is no error.
            let script =
                "find \"$1\" -path '*/current/*' -name '*.chunk' -printf '%s %p\\n' 2>/dev/null || true";
            let listed = machines.shell(&machine, script, &[&path]).await?;
            for line in String::from_utf8_lossy(&listed).lines() {
                if let Some((replica, file)) = replica(line) {
                    found.push((replica, machine.clone(), file));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// All finalized replicas.
    pub(super) async fn replicas_of(&self, daemon: Daemon) -> Result<Vec<StoredReplica>> {
        Ok(self.files(daemon).await?.into_iter().map(|(replica, _, _)| replica).collect())
    }

    /// The bytes of a chunk's replica of the latest generation.
    pub(super) async fn bytes_of(&self, daemon: Daemon, chunk: ChunkId) -> Result<Option<Vec<u8>>> {
        let latest = self.files(daemon).await?.into_iter().rfind(|(replica, _, _)| replica.chunk == chunk);
        let Some((_, machine, file)) = latest else { return Ok(None) };
        // It may be deleted meanwhile: then it is not there.
        let script = "[ ! -e \"$1\" ] || { echo; cat \"$1\"; }";
        let said = self.machines()?.shell(&machine, script, &[&file]).await?;
        Ok(said.split_first().map(|(_, bytes)| bytes.to_vec()))
    }

    /// Flips bits in the middle of every replica of a chunk.
    pub(super) async fn damage(&self, daemon: Daemon, chunk: ChunkId) -> Result<()> {
        let all = self.files(daemon).await?.into_iter().filter(|(replica, _, _)| replica.chunk == chunk);
        let mut damaged = 0;
        for (replica, machine, file) in all {
            if replica.length == 0 {
                bail!("chunk {chunk} is empty on {daemon}");
            }
            let length = DAMAGE.min(replica.length);
            let at = (replica.length - length) / 2;
            // Each byte becomes another one: 0 to 127 become 128 to 255, and the other way round.
            let script = "dd if=\"$1\" bs=1 skip=\"$2\" count=\"$3\" 2>/dev/null | \
                 LC_ALL=C tr '\\000-\\377' '\\200-\\377\\000-\\177' | \
                 dd of=\"$1\" bs=1 seek=\"$2\" conv=notrunc 2>/dev/null; sync";
            let (at, length) = (at.to_string(), length.to_string());
            self.machines()?.shell(&machine, script, &[&file, &at, &length]).await?;
            damaged += 1;
        }
        ensure!(damaged > 0, "{daemon} has no replica of chunk {chunk} to damage");
        Ok(())
    }
}

/// What a line `SIZE PATH` of a finalized replica's data says.
fn replica(line: &str) -> Option<(StoredReplica, String)> {
    let (length, path) = line.split_once(' ')?;
    let name = path.rsplit_once('/')?.1.strip_suffix(".chunk")?;
    let (chunk, generation) = name.split_once('_')?;
    let replica = StoredReplica {
        chunk: ChunkId(chunk.parse().ok()?),
        generation: GenStamp(generation.parse().ok()?),
        length: length.parse().ok()?,
    };
    Some((replica, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_find_are_read() {
        let (found, path) = replica("2000 /var/volumes/pv 1/dfs/current/05/5_7.chunk").unwrap();
        assert_eq!(found, StoredReplica { chunk: ChunkId(5), generation: GenStamp(7), length: 2_000 });
        assert_eq!(path, "/var/volumes/pv 1/dfs/current/05/5_7.chunk");
        for line in ["", "2000", "2000 /a/5_7.crc", "x /a/5_7.chunk", "1 /a/5.chunk", "1 /a/x_1.chunk"] {
            assert!(replica(line).is_none(), "{line}");
        }
    }
}
