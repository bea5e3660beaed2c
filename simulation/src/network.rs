//! Copies on their way, and how fast they go: each gets its fair share of the two nodes' disks and network cards and of
//! their racks' uplinks, beside the clients there.

use std::time::Duration;

use dfs_types::Millis;

use crate::settings::{Settings, mix};

/// How long the clients of a node stay the same, in milliseconds.
const CLIENTS_STAY: u64 = 10_000;

/// A copy under way.
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    pub(crate) chunk: u32,
    pub(crate) source: usize,
    pub(crate) target: usize,
    /// When it began.
    pub(crate) began: Millis,
    /// Bytes to go.
    left: f64,
    /// Bytes to go at which it breaks off.
    breaks_at: Option<f64>,
    /// Bytes per second allowed.
    limit: f64,
}

/// What became of a copy.
#[derive(Debug)]
pub(crate) enum Ended {
    /// All bytes are there.
    Arrived(Transfer),
    /// It broke off.
    Broken(Transfer),
}

/// Streams of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Streams {
    pub(crate) sending: u32,
    pub(crate) receiving: u32,
}

/// Bytes of copies that went through one node in the current second.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    sent: f64,
    received: f64,
}

/// The most that was seen, and sums.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Copies one node sent at a time.
    pub(crate) sending: u32,
    /// Copies one node received at a time.
    pub(crate) receiving: u32,
    /// Copies in the whole cluster at a time.
    pub(crate) copies: usize,
    /// Bytes of copies one node sent in a second.
    pub(crate) sent: f64,
    /// Bytes of copies one node received in a second.
    pub(crate) received: f64,
    /// Bytes of all copies.
    pub(crate) moved: f64,
    /// Bytes the clients would have moved, alone, and did move, on nodes that took part in copies.
    pub(crate) clients_wanted: f64,
    pub(crate) clients_got: f64,
}

impl Seen {
    /// By how many percent clients were slowed; 0 if there were none beside copies.
    pub(crate) fn clients_slowed(&self) -> f64 {
        let missed = self.clients_wanted - self.clients_got;
        if self.clients_wanted > 0.0 { 100.0 * missed.max(0.0) / self.clients_wanted } else { 0.0 }
    }
}

/// All copies under way.
#[derive(Debug)]
pub(crate) struct Network {
    transfers: Vec<Transfer>,
    streams: Vec<Streams>,
    /// Copies that leave and that enter each rack.
    uplinks: Vec<Streams>,
    second: Vec<Second>,
    second_began: Millis,
    seen: Seen,
}

/// What one copy and one client get of something that all share.
#[derive(Debug, Clone, Copy)]
struct Share {
    copy: f64,
    client: f64,
}

fn share(rate: f64, copies: u32, clients: f64, wants: f64) -> Share {
    let fair = rate / (f64::from(copies) + clients).max(1.0);
    if fair > wants {
        Share { copy: (rate - clients * wants) / f64::from(copies.max(1)), client: wants }
    } else {
        Share { copy: fair, client: fair }
    }
}

/// Shares at one node.
#[derive(Debug, Clone, Copy)]
struct NodeShares {
    disk: Share,
    sending: Share,
    receiving: Share,
}

/// Clients that read from a node and that write to it at `now`.
pub(crate) fn clients(settings: &Settings, node: usize, now: Millis) -> (u32, u32) {
    let drawn = mix(settings.seed ^ mix(node as u64 ^ mix(now.0 / CLIENTS_STAY)));
    let most = 2 * u64::from(settings.clients) + 1;
    ((drawn % most) as u32, ((drawn >> 32) % most) as u32)
}

impl Network {
    pub(crate) fn new(settings: &Settings, now: Millis) -> Self {
        let nodes = usize::from(settings.nodes);
        Self {
            transfers: Vec::new(),
            streams: vec![Streams::default(); nodes],
            uplinks: vec![Streams::default(); settings.racks()],
            second: vec![Second::default(); nodes],
            second_began: now,
            seen: Seen::default(),
        }
    }

    /// Copies under way.
    pub(crate) fn transfers(&self) -> &[Transfer] {
        &self.transfers
    }

    /// A node's copies.
    pub(crate) fn streams(&self, node: usize) -> Streams {
        self.streams.get(node).copied().unwrap_or_default()
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen
    }

    /// Begins a copy; `limit` is its bytes per second, 0 for as fast as it goes.
    pub(crate) fn start(
        &mut self,
        settings: &Settings,
        route: (u32, usize, usize),
        limit: u64,
        breaks: bool,
        now: Millis,
    ) {
        let (chunk, source, target) = route;
        let left = settings.chunk_bytes as f64;
        let breaks_at = breaks.then_some(left / 2.0);
        let limit = if limit == 0 { f64::INFINITY } else { limit as f64 };
        self.transfers.push(Transfer { chunk, source, target, began: now, left, breaks_at, limit });
        self.count(settings, source, target, 1);
        let (sending, receiving) = (self.streams(source).sending, self.streams(target).receiving);
        self.seen.sending = self.seen.sending.max(sending);
        self.seen.receiving = self.seen.receiving.max(receiving);
        self.seen.copies = self.seen.copies.max(self.transfers.len());
    }

    fn count(&mut self, settings: &Settings, source: usize, target: usize, by: i32) {
        count_ends(&mut self.streams, source, target, by);
        let (from, to) = (settings.rack(source), settings.rack(target));
        if from != to {
            count_ends(&mut self.uplinks, from, to, by);
        }
    }

    /// Breaks the copies off that a node takes part in.
    pub(crate) fn cut(&mut self, settings: &Settings, node: usize) -> Vec<Transfer> {
        let concerned = |transfer: &mut Transfer| transfer.source == node || transfer.target == node;
        let ended: Vec<Transfer> = self.transfers.extract_if(.., concerned).collect();
        for transfer in &ended {
            self.count(settings, transfer.source, transfer.target, -1);
        }
        ended
    }

    /// Lets time pass; answers the copies that ended.
    pub(crate) fn advance(&mut self, settings: &Settings, time: Duration, now: Millis) -> Vec<Ended> {
        let seconds = time.as_secs_f64();
        let nodes: Vec<Option<NodeShares>> =
            (0..self.streams.len()).map(|node| self.node_shares(settings, node, seconds, now)).collect();
        let uplinks: Vec<(f64, f64)> =
            self.uplinks.iter().map(|uplink| uplink_shares(settings, *uplink)).collect();
        let mut ended = Vec::new();
        let (second, seen) = (&mut self.second, &mut self.seen);
        self.transfers.retain_mut(|transfer| {
            let rate = rate_of(settings, transfer, &nodes, &uplinks);
            let floor = transfer.breaks_at.unwrap_or_default();
            let bytes = (rate * seconds).min(transfer.left - floor).max(0.0);
            transfer.left -= bytes;
            seen.moved += bytes;
            second.get_mut(transfer.source).into_iter().for_each(|second| second.sent += bytes);
            second.get_mut(transfer.target).into_iter().for_each(|second| second.received += bytes);
            let over = transfer.left <= floor + 0.5;
            if over {
                let transfer = transfer.clone();
                let broken = transfer.breaks_at.is_some();
                ended.push(if broken { Ended::Broken(transfer) } else { Ended::Arrived(transfer) });
            }
            !over
        });
        for it in &ended {
            let (Ended::Arrived(transfer) | Ended::Broken(transfer)) = it;
            self.count(settings, transfer.source, transfer.target, -1);
        }
        self.end_second(now);
        ended
    }

    fn node_shares(
        &mut self,
        settings: &Settings,
        node: usize,
        seconds: f64,
        now: Millis,
    ) -> Option<NodeShares> {
        let Streams { sending, receiving } = self.streams(node);
        if sending + receiving == 0 {
            return None;
        }
        let (readers, writers) = clients(settings, node, now);
        let (readers, writers) = (f64::from(readers), f64::from(writers));
        let wants = settings.client_rate;
        let shares = NodeShares {
            disk: share(settings.disk_rate, sending + receiving, readers + writers, wants),
            sending: share(settings.network_rate, sending, readers, wants),
            receiving: share(settings.network_rate, receiving, writers, wants),
        };
        let alone = share(settings.disk_rate, 0, readers + writers, wants).client;
        self.seen.clients_wanted += (readers + writers) * alone * seconds;
        let got = readers * shares.disk.client.min(shares.sending.client)
            + writers * shares.disk.client.min(shares.receiving.client);
        self.seen.clients_got += got * seconds;
        Some(shares)
    }

    fn end_second(&mut self, now: Millis) {
        let time = now.since(self.second_began);
        if time < Duration::from_secs(1) {
            return;
        }
        self.second_began = now;
        for second in &mut self.second {
            self.seen.sent = self.seen.sent.max(second.sent / time.as_secs_f64());
            self.seen.received = self.seen.received.max(second.received / time.as_secs_f64());
            *second = Second::default();
        }
    }
}

/// Counts a copy at both its ends.
fn count_ends(streams: &mut [Streams], from: usize, to: usize, by: i32) {
    if let Some(from) = streams.get_mut(from) {
        from.sending = from.sending.saturating_add_signed(by);
    }
    if let Some(to) = streams.get_mut(to) {
        to.receiving = to.receiving.saturating_add_signed(by);
    }
}

/// What one copy gets of a rack's uplink, outwards and inwards; half of what clients read and write crosses it.
fn uplink_shares(settings: &Settings, streams: Streams) -> (f64, f64) {
    let clients = f64::from(settings.clients) * f64::from(settings.rack_size) / 2.0;
    let copy = |copies| share(settings.uplink_rate, copies, clients, settings.client_rate).copy;
    (copy(streams.sending), copy(streams.receiving))
}

fn rate_of(
    settings: &Settings,
    transfer: &Transfer,
    nodes: &[Option<NodeShares>],
    uplinks: &[(f64, f64)],
) -> f64 {
    let shares = |node: usize| nodes.get(node).copied().flatten();
    let (Some(source), Some(target)) = (shares(transfer.source), shares(transfer.target)) else {
        return 0.0;
    };
    let ends = source.disk.copy.min(source.sending.copy).min(target.disk.copy).min(target.receiving.copy);
    let (from, to) = (settings.rack(transfer.source), settings.rack(transfer.target));
    let way = match (uplinks.get(from), uplinks.get(to)) {
        (Some((out, _)), Some((_, into))) if from != to => out.min(*into),
        _ => f64::INFINITY,
    };
    ends.min(way).min(transfer.limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    /// Seconds until the copies along these routes have all arrived.
    fn time(settings: &Settings, routes: &[(usize, usize)], limit: u64) -> f64 {
        let mut network = Network::new(settings, Millis(0));
        for (chunk, (source, target)) in routes.iter().enumerate() {
            network.start(settings, (chunk as u32, *source, *target), limit, false, Millis(0));
        }
        let (mut now, mut arrived) = (Millis(0), 0);
        while arrived < routes.len() {
            now = now.plus(STEP);
            arrived += network.advance(settings, STEP, now).len();
        }
        assert_eq!(network.streams(routes[0].0), Streams::default());
        now.0 as f64 / 1_000.0
    }

    fn settings() -> Settings {
        Settings {
            clients: 0,
            chunk_bytes: 10_000_000_000,
            disk_rate: 2e9,
            network_rate: 1e9,
            uplink_rate: 1.5e9,
            rack_size: 2,
            ..Settings::new(10, 10, 1)
        }
    }

    #[test]
    fn the_narrowest_part_decides() {
        let settings = settings();
        let close = |seconds: f64, expected: f64| assert!((seconds - expected).abs() < 0.11, "{seconds}");
        close(time(&settings, &[(0, 1)], 0), 10.0);
        close(time(&settings, &[(0, 1)], 500_000_000), 20.0);
        // One network card for two.
        close(time(&settings, &[(0, 1), (0, 2)], 0), 20.0);
        // One disk for four.
        close(time(&settings, &[(0, 1), (2, 0), (0, 3), (4, 0)], 0), 20.0);
        // One uplink for two.
        close(time(&settings, &[(0, 2), (1, 4)], 0), 10.0 * 2.0 / 1.5);
    }

    #[test]
    fn clients_and_copies_share() {
        let fair = share(1e9, 1, 3.0, 5e8);
        assert!((fair.copy - 2.5e8).abs() < 1.0 && (fair.client - 2.5e8).abs() < 1.0);
        let modest = share(1e9, 2, 3.0, 1e8);
        assert!((modest.copy - 3.5e8).abs() < 1.0 && (modest.client - 1e8).abs() < 1.0);
    }

    #[test]
    fn a_copy_that_breaks_does_not_arrive_and_a_cut_node_has_none() {
        let settings = settings();
        let mut network = Network::new(&settings, Millis(0));
        network.start(&settings, (1, 0, 1), 0, true, Millis(0));
        network.start(&settings, (2, 2, 3), 0, false, Millis(0));
        assert_eq!(network.cut(&settings, 3).len(), 1);
        let mut now = Millis(0);
        let ended = loop {
            now = now.plus(STEP);
            let mut ended = network.advance(&settings, STEP, now);
            if let Some(ended) = ended.pop() {
                break ended;
            }
        };
        assert!(matches!(ended, Ended::Broken(Transfer { chunk: 1, .. })));
        assert!((now.0 as i64 - 5_000).abs() <= 100, "{now}");
        assert!(network.transfers().is_empty());
    }
}
