//! Between the data port's messages and the sessions' values.

use std::time::Duration;

use dfs_proto::convert;
use dfs_proto::v1;
use dfs_types::limits::{BYTES_PER_CHECKSUM, MAX_PATH_BYTES, MAX_PRINCIPAL_BYTES};
use dfs_types::{ChunkId, FsError, FsResult, GenStamp, InodeId};

use crate::session::{Failure, Header, Reply, Stage};
use crate::volume::writer::Packet;

/// How long a sender that does not say so waits for an acknowledgement.
pub(crate) const DEFAULT_PATIENCE: Duration = Duration::from_mins(1);
/// The longest such wait that is taken over.
const LONGEST_PATIENCE: Duration = Duration::from_mins(10);

/// Reads and checks the first message of a write stream.
pub(crate) fn read_header(header: v1::WriteHeader) -> FsResult<Header> {
    let stage = match header.stage() {
        v1::WriteStage::Create => Stage::Create,
        v1::WriteStage::Recover => Stage::Recover { min_length: header.min_length },
        v1::WriteStage::Copy => Stage::Copy,
        v1::WriteStage::Transfer => Stage::Transfer,
        v1::WriteStage::Unspecified => return Err(FsError::invalid("the header's stage is unknown")),
    };
    if header.bytes_per_checksum != BYTES_PER_CHECKSUM as u32 {
        return Err(FsError::invalid(format!(
            "{} bytes per checksum are not supported: use {BYTES_PER_CHECKSUM}",
            header.bytes_per_checksum
        )));
    }
    for (what, text, limit) in
        [("path", &header.path, MAX_PATH_BYTES), ("holder", &header.holder, MAX_PRINCIPAL_BYTES)]
    {
        if text.len() > limit {
            return Err(FsError::invalid(format!("the header's {what} has more than {limit} bytes")));
        }
    }
    let patience = match header.patience_ms {
        0 => DEFAULT_PATIENCE,
        wish => Duration::from_millis(wish.into()).min(LONGEST_PATIENCE),
    };
    let storage = convert::known_storage(header.storage_type);
    Ok(Header {
        cluster: convert::cluster_id(&header.cluster)?,
        target: convert::node_id(&header.target)?,
        chunk: ChunkId(header.chunk),
        generation: GenStamp(header.generation),
        inode: InodeId(header.inode),
        index: header.index,
        path: header.path,
        chunk_size: header.chunk_size,
        expected_length: match header.expected_length {
            0 => header.chunk_size,
            expected => expected.min(header.chunk_size),
        },
        stage,
        sync: header.sync,
        downstream: convert::pipeline(header.downstream)?,
        storage,
        holder: header.holder,
        patience,
    })
}

/// The first message of a write stream.
pub(crate) fn header_message(header: Header) -> v1::WriteRequest {
    let Header {
        cluster,
        target,
        chunk,
        generation,
        inode,
        index,
        path,
        chunk_size,
        expected_length,
        stage,
        sync,
        downstream,
        storage,
        holder,
        patience,
    } = header;
    let (stage, min_length) = match stage {
        Stage::Create => (v1::WriteStage::Create, 0),
        Stage::Recover { min_length } => (v1::WriteStage::Recover, min_length),
        Stage::Copy => (v1::WriteStage::Copy, 0),
        Stage::Transfer => (v1::WriteStage::Transfer, 0),
    };
    let header = v1::WriteHeader {
        cluster: cluster.as_bytes().to_vec(),
        chunk: chunk.0,
        generation: generation.0,
        inode: inode.0,
        index,
        path,
        chunk_size,
        stage: stage.into(),
        min_length,
        sync,
        target: target.as_bytes().to_vec(),
        downstream: downstream.into_iter().map(v1::Node::from).collect(),
        holder,
        bytes_per_checksum: BYTES_PER_CHECKSUM as u32,
        patience_ms: patience.as_millis() as u32,
        expected_length,
        storage_type: storage.map(|storage| v1::StorageType::from(storage).into()),
    };
    v1::WriteRequest { kind: Some(v1::write_request::Kind::Header(header)) }
}

/// Reads a further message of a write stream.
pub(crate) fn read_packet(request: v1::WriteRequest) -> FsResult<Packet> {
    match request.kind {
        Some(v1::write_request::Kind::Packet(packet)) => {
            let v1::Packet { sequence, offset, data, checksums, last, flush, sync } = packet;
            Ok(Packet { sequence, offset, data, checksums, last, flush, sync })
        }
        Some(v1::write_request::Kind::Header(_)) => Err(FsError::invalid("a second header came")),
        None => Err(FsError::invalid("a message without header or packet came")),
    }
}

/// A further message of a write stream.
pub(crate) fn packet_message(packet: Packet) -> v1::WriteRequest {
    let Packet { sequence, offset, data, checksums, last, flush, sync } = packet;
    let packet = v1::Packet { sequence, offset, data, checksums, last, flush, sync };
    v1::WriteRequest { kind: Some(v1::write_request::Kind::Packet(packet)) }
}

/// The message for a reply.
pub(crate) fn reply_message(reply: Reply) -> v1::WriteReply {
    let parts = |result: Result<(), Failure>| match result {
        Ok(()) => (None, 0),
        Err(failure) => (Some(convert::to_detail(&failure.error)), failure.position),
    };
    let kind = match reply {
        Reply::Setup(result) => {
            let (error, failed) = parts(result);
            v1::write_reply::Kind::Setup(v1::SetupReply { error, failed })
        }
        Reply::Ack { sequence, result } => {
            let (error, failed) = parts(result);
            v1::write_reply::Kind::Ack(v1::PacketAck { sequence, error, failed })
        }
    };
    v1::WriteReply { kind: Some(kind) }
}

/// Reads a reply.
pub(crate) fn read_reply(reply: v1::WriteReply) -> FsResult<Reply> {
    let result = |error: Option<v1::ErrorDetail>, position| match error {
        None => Ok(()),
        Some(detail) => Err(Failure { error: convert::from_detail(&detail), position }),
    };
    match reply.kind {
        Some(v1::write_reply::Kind::Setup(setup)) => Ok(Reply::Setup(result(setup.error, setup.failed))),
        Some(v1::write_reply::Kind::Ack(ack)) => {
            Ok(Reply::Ack { sequence: ack.sequence, result: result(ack.error, ack.failed) })
        }
        None => Err(FsError::invalid("a reply without content came")),
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{Address, ClusterId, Endpoint, ErrorCode, NodeId, StorageType};

    use super::*;

    fn header() -> Header {
        Header {
            cluster: ClusterId::random(),
            target: NodeId::random(),
            chunk: ChunkId(7),
            generation: GenStamp(8),
            inode: InodeId(9),
            index: 1,
            path: "/a".to_owned(),
            chunk_size: 4_096,
            expected_length: 1_000,
            stage: Stage::Recover { min_length: 5 },
            sync: true,
            downstream: Vec::new(),
            storage: Some(StorageType::Ssd),
            holder: "client".to_owned(),
            patience: Duration::from_secs(7),
        }
    }

    fn message(header: Header) -> v1::WriteHeader {
        match header_message(header).kind {
            Some(v1::write_request::Kind::Header(header)) => header,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn headers_and_replies_come_back() {
        let header = header();
        assert_eq!(read_header(message(header.clone())), Ok(header));
        let failure = Failure { error: FsError::new(ErrorCode::NoSpace, "full"), position: 2 };
        for reply in [
            Reply::Setup(Ok(())),
            Reply::Setup(Err(failure.clone())),
            Reply::Ack { sequence: 4, result: Err(failure) },
        ] {
            assert_eq!(read_reply(reply_message(reply.clone())), Ok(reply));
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let good = message(header());
        for bad in [
            v1::WriteHeader { cluster: vec![1; 15], ..good.clone() },
            v1::WriteHeader { target: Vec::new(), ..good.clone() },
            v1::WriteHeader { stage: 77, ..good.clone() },
            v1::WriteHeader { bytes_per_checksum: 1_024, ..good.clone() },
            v1::WriteHeader { path: "p".repeat(5_000), ..good.clone() },
            v1::WriteHeader { holder: "h".repeat(300), ..good.clone() },
            v1::WriteHeader { downstream: vec![v1::Node::default()], ..good.clone() },
            v1::WriteHeader { downstream: vec![v1::Node::default(); 100], ..good },
        ] {
            assert_eq!(read_header(bad).unwrap_err().code, ErrorCode::InvalidArgument);
        }
        let second = read_packet(header_message(header()));
        assert!(second.unwrap_err().message.contains("second header"));
    }
    #[test]
    fn each_node_is_less_patient_than_the_one_before() {
        let node = || Endpoint {
            id: NodeId::random(),
            at: Address { host: "h".to_owned(), data_port: 1, http_port: 1, location: String::new() },
            storage: None,
        };
        let mut patience = Duration::from_secs(30);
        let mut waits = Vec::new();
        for further in [2, 1, 0] {
            let downstream = (0..further).map(|_| node()).collect();
            let header = Header { downstream, patience, ..header() };
            patience = read_header(message(header)).unwrap().patience_onward();
            waits.push(patience.as_secs());
        }
        assert_eq!(waits, [20, 10, 0], "the last one waits for nobody");
        let silent = v1::WriteHeader { patience_ms: 0, ..message(header()) };
        assert_eq!(read_header(silent).unwrap().patience, DEFAULT_PATIENCE);
        let endless = v1::WriteHeader { patience_ms: u32::MAX, ..message(header()) };
        assert_eq!(read_header(endless).unwrap().patience, LONGEST_PATIENCE);
    }
}
