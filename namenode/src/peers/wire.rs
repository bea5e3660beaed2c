//! Conversions between the library's messages and ours. The library's own encoding is never used between processes.

use dfs_namenode_raft::{ConfState, Entry, Envelope, Message, Nanos, Snapshot, number};
use dfs_proto::v1;
use dfs_types::format::FIRST_LEVEL;
use dfs_types::{FsError, FsResult};

/// The message for an envelope; who sends it is filled in by the caller.
pub(crate) fn wire_envelope(envelope: Envelope) -> v1::RaftEnvelope {
    let Envelope { message, stamp, echo } = envelope;
    v1::RaftEnvelope {
        message: Some(wire_message(message)),
        stamp: stamp.0,
        echo: echo.0,
        ..v1::RaftEnvelope::default()
    }
}

/// Reads an envelope.
pub(crate) fn envelope(wire: v1::RaftEnvelope) -> FsResult<Envelope> {
    let v1::RaftEnvelope { message: body, stamp, echo, .. } = wire;
    let body = body.ok_or_else(|| FsError::invalid("the envelope lacks 'message'"))?;
    Ok(Envelope { message: message(body)?, stamp: Nanos(stamp), echo: Nanos(echo) })
}

/// The highest feature level that a NameNode says it knows: those that say none know the first.
pub(crate) fn level(wire: u32) -> u16 {
    u16::try_from(wire).unwrap_or(u16::MAX).max(FIRST_LEVEL)
}

fn wire_message(mut message: Message) -> v1::RaftMessage {
    v1::RaftMessage {
        kind: number::of_message(message.get_msg_type()),
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.take_entries().into_iter().map(wire_entry).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        snapshot: message.has_snapshot().then(|| wire_snapshot(message.get_snapshot())),
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.take_context().to_vec(),
        priority: message.priority,
    }
}

fn message(wire: v1::RaftMessage) -> FsResult<Message> {
    let kind = number::message(wire.kind)
        .ok_or_else(|| FsError::invalid(format!("there is no message of kind {}", wire.kind)))?;
    let mut message = Message {
        to: wire.to,
        from: wire.from,
        term: wire.term,
        log_term: wire.log_term,
        index: wire.index,
        entries: wire.entries.into_iter().map(entry).collect::<FsResult<Vec<_>>>()?.into(),
        commit: wire.commit,
        commit_term: wire.commit_term,
        request_snapshot: wire.request_snapshot,
        reject: wire.reject,
        reject_hint: wire.reject_hint,
        context: wire.context.into(),
        priority: wire.priority,
        ..Message::default()
    };
    message.set_msg_type(kind);
    if let Some(wire) = wire.snapshot {
        message.set_snapshot(snapshot(wire)?);
    }
    Ok(message)
}

fn wire_entry(mut entry: Entry) -> v1::RaftEntry {
    v1::RaftEntry {
        kind: number::of_entry(entry.get_entry_type()),
        term: entry.term,
        index: entry.index,
        data: entry.take_data(),
        context: entry.take_context(),
    }
}

fn entry(wire: v1::RaftEntry) -> FsResult<Entry> {
    let v1::RaftEntry { kind, term, index, data, context } = wire;
    let kind =
        number::entry(kind).ok_or_else(|| FsError::invalid(format!("there is no entry of kind {kind}")))?;
    let mut entry = Entry { term, index, data, context, ..Entry::default() };
    entry.set_entry_type(kind);
    Ok(entry)
}

fn wire_snapshot(snapshot: &Snapshot) -> v1::RaftSnapshot {
    let metadata = snapshot.get_metadata();
    let members = metadata.get_conf_state().clone();
    v1::RaftSnapshot {
        index: metadata.index,
        term: metadata.term,
        members: Some(v1::RaftMembers {
            voters: members.voters,
            learners: members.learners,
            voters_outgoing: members.voters_outgoing,
            learners_next: members.learners_next,
            auto_leave: members.auto_leave,
        }),
    }
}

fn snapshot(wire: v1::RaftSnapshot) -> FsResult<Snapshot> {
    let v1::RaftSnapshot { index, term, members } = wire;
    let members = members.ok_or_else(|| FsError::invalid("the snapshot lacks 'members'"))?;
    let v1::RaftMembers { voters, learners, voters_outgoing, learners_next, auto_leave } = members;
    let members =
        ConfState { voters, learners, voters_outgoing, learners_next, auto_leave, ..ConfState::default() };
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (index, term);
    metadata.set_conf_state(members);
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_namenode_raft::{EntryType, MessageType};

    #[test]
    fn messages_survive_the_way() {
        for kind in (0..32).filter_map(number::message) {
            let mut entry = Entry { term: 3, index: 9, data: vec![1, 2].into(), ..Entry::default() };
            entry.set_entry_type(EntryType::EntryConfChangeV2);
            entry.set_context(vec![7].into());
            let mut message = Message {
                to: 1,
                from: 2,
                term: 3,
                log_term: 4,
                index: 5,
                entries: vec![entry].into(),
                commit: 6,
                commit_term: 7,
                request_snapshot: 8,
                reject: true,
                reject_hint: 9,
                context: vec![5].into(),
                priority: -1,
                ..Message::default()
            };
            message.set_msg_type(kind);
            if kind == MessageType::MsgSnapshot {
                let snapshot = message.mut_snapshot().mut_metadata();
                (snapshot.index, snapshot.term) = (10, 11);
                snapshot.set_conf_state(ConfState {
                    voters: vec![1, 2],
                    learners: vec![3],
                    voters_outgoing: vec![4],
                    learners_next: vec![5],
                    auto_leave: true,
                    ..ConfState::default()
                });
            }
            let sent = Envelope { message, stamp: Nanos(12), echo: Nanos(13) };
            assert_eq!(envelope(wire_envelope(sent.clone())).unwrap(), sent, "{kind:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(envelope(v1::RaftEnvelope::default()).is_err());
        let odd = v1::RaftMessage { kind: 99, ..v1::RaftMessage::default() };
        assert!(envelope(v1::RaftEnvelope { message: Some(odd), ..v1::RaftEnvelope::default() }).is_err());
        let entry = v1::RaftEntry { kind: 9, ..v1::RaftEntry::default() };
        let odd = v1::RaftMessage { kind: 3, entries: vec![entry], ..v1::RaftMessage::default() };
        assert!(envelope(v1::RaftEnvelope { message: Some(odd), ..v1::RaftEnvelope::default() }).is_err());
    }
}
