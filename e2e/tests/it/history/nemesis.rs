//! What goes wrong meanwhile: NameNodes are killed, held, cut off and given wrong clocks, the leader by preference.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dfs_local::{Daemon, Link, Party};
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::stage::{Stage, party};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Processes end by SIGKILL and start again.
    Kill,
    /// A process is stopped and goes on.
    Pause,
    /// The network loses a member or some of its links.
    Partition,
    /// The network is slow.
    Delay,
    /// A clock is wrong from now on.
    Skew,
}

/// How a member is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// From the other members: clients still reach it.
    FromMembers,
    /// From everybody.
    FromAll,
    /// What it sends to the other members is lost.
    Mute,
    /// What the other members send to it is lost.
    Deaf,
    /// From one other member.
    FromOne,
}

const CUTS: [Cut; 5] = [Cut::FromMembers, Cut::FromAll, Cut::Mute, Cut::Deaf, Cut::FromOne];

/// The one that does it.
#[derive(Debug)]
pub(super) struct Nemesis<'a> {
    stage: &'a Stage,
    random: SmallRng,
    clock: Instant,
    faults: Vec<Fault>,
    /// What was done, and when, for people.
    diary: Vec<String>,
    done: Vec<Fault>,
}

impl<'a> Nemesis<'a> {
    /// Faults of these kinds, all equally likely. Times are counted from `clock`.
    pub(super) fn new(stage: &'a Stage, random: SmallRng, clock: Instant, faults: &[Fault]) -> Self {
        Self { stage, random, clock, faults: faults.to_vec(), diary: Vec::new(), done: Vec::new() }
    }

    /// What was done since this was last asked, in words and by kind.
    pub(super) fn turn_page(&mut self) -> (Vec<String>, Vec<Fault>) {
        (std::mem::take(&mut self.diary), std::mem::take(&mut self.done))
    }

    /// How many faults the next round is to have.
    pub(super) fn strikes(&mut self) -> usize {
        self.random.random_range(1..=2)
    }

    fn note(&mut self, what: impl fmt::Display) {
        self.diary.push(format!("{:.3?} {what}", self.clock.elapsed()));
    }

    /// A pause of at least and at most so many milliseconds: when it ends is what is random here.
    pub(super) async fn wait(&mut self, from: u64, to: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(from..to))).await;
    }

    /// All members, the victim first: the leader, mostly.
    async fn victims(&mut self) -> Result<Vec<u16>> {
        let mut members: Vec<u16> = (1..=self.stage.members).collect();
        members.shuffle(&mut self.random);
        if self.random.random_ratio(3, 4)
            && let Daemon::NameNode(leader) = self.stage.cluster.leader().await?
        {
            members.retain(|member| *member != leader);
            members.insert(0, leader);
        }
        Ok(members)
    }

    /// Makes one fault and undoes it.
    pub(super) async fn strike(&mut self) -> Result<()> {
        let fault = *self.faults.choose(&mut self.random).context("a fault is allowed")?;
        self.done.push(fault);
        match fault {
            Fault::Kill => self.kill().await,
            Fault::Pause => self.pause().await,
            Fault::Partition => self.cut().await,
            Fault::Delay => self.delay().await,
            Fault::Skew => self.skew().await,
        }
    }

    async fn kill(&mut self) -> Result<()> {
        let victims = self.victims().await?;
        // Mostly one; sometimes so many that there is no majority, or all.
        let most = if self.random.random_ratio(1, 4) { victims.len() } else { 1 };
        let count = self.random.random_range(1..=most);
        for member in &victims[..count] {
            self.note(format_args!("kill {member}"));
            self.stage.cluster.kill(Daemon::NameNode(*member)).await?;
        }
        self.wait(0, 2_500).await;
        let starts =
            victims[..count].iter().map(|member| self.stage.cluster.start(Daemon::NameNode(*member)));
        futures_util::future::try_join_all(starts).await?;
        self.note("started");
        Ok(())
    }

    async fn pause(&mut self) -> Result<()> {
        let daemon = Daemon::NameNode(self.victims().await?[0]);
        self.note(format_args!("pause {daemon}"));
        self.stage.cluster.pause(daemon).await?;
        // Shorter and longer than an election takes.
        if self.random.random() {
            self.wait(50, 450).await;
        } else {
            self.wait(700, 3_500).await;
        }
        self.note(format_args!("resume {daemon}"));
        Ok(self.stage.cluster.resume(daemon).await?)
    }

    async fn cut(&mut self) -> Result<()> {
        let victims = self.victims().await?;
        let cut = *CUTS.choose(&mut self.random).context("there are cuts")?;
        self.note(format_args!("cut {} off: {cut:?}", victims[0]));
        let victim = party(victims[0]);
        for other in victims[1..].iter().copied().map(party) {
            match cut {
                Cut::FromMembers | Cut::FromAll => self.stage.network.set_both(victim, other, Link::Held),
                Cut::Mute => self.stage.network.set(victim, other, Link::Held),
                Cut::Deaf => self.stage.network.set(other, victim, Link::Held),
                Cut::FromOne => {
                    self.stage.network.set_both(victim, other, Link::Held);
                    break;
                }
            }
        }
        if cut == Cut::FromAll {
            self.stage.network.set_both(victim, Party::Clients, Link::Held);
        }
        self.wait(300, 4_000).await;
        self.note("heal");
        self.stage.network.heal();
        Ok(())
    }

    async fn delay(&mut self) -> Result<()> {
        let victims = self.victims().await?;
        let time = Duration::from_millis(self.random.random_range(5..250));
        self.note(format_args!("delay what {} sends and gets by {time:?}", victims[0]));
        let victim = party(victims[0]);
        for other in victims[1..].iter().copied().map(party) {
            self.stage.network.set_both(victim, other, Link::Delayed(time));
        }
        self.stage.network.set_both(victim, Party::Clients, Link::Delayed(time));
        self.wait(500, 3_000).await;
        self.note("heal");
        self.stage.network.heal();
        Ok(())
    }

    async fn skew(&mut self) -> Result<()> {
        let daemon = Daemon::NameNode(self.victims().await?[0]);
        let seconds = self.random.random_range(-7_200..=7_200);
        self.note(format_args!("the clock of {daemon} is {seconds:+} s wrong"));
        self.stage.clocks.set(daemon, seconds)?;
        self.wait(500, 1_500).await;
        Ok(())
    }
}
