//! The adapter as a whole: who serves the bots, and what runs while somebody does.

use std::sync::Arc;
use std::time::Duration;

use nexus_blobs::Blobs;
use nexus_bus::{Bus, Chain, Cursors, Handler, Lease, Limits, Records, Runner, Shelf};
use nexus_contracts::{TenantId, Timestamp, Token};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::accept::Accept;
use crate::bot::Bot;
use crate::config::{Config, Secrets};
use crate::deliver::{Answers, Deliverer, Notices};
use crate::desk::Desk;
use crate::error::Error;
use crate::intake::Intake;
use crate::lanes::Lanes;
use crate::live::Live;
use crate::press::Presses;
use crate::record::{Ask, Record};
use crate::typing::Typing;
use crate::webhook::{Gate, Listener};

/// The durable consumers, as `bus-config/` names them.
const ANSWERS: &str = "deliver-telegram";
const NOTICES: &str = "notify-telegram";

/// Waiting for one chat must not keep others waiting.
const CONCURRENCY: usize = 256;

/// With waits of up to five minutes between them, deliveries are tried for about a day.
const DELIVERIES: u64 = 300;

/// The Telegram adapter, ready to serve.
#[derive(Debug)]
pub struct Telegram {
    bus: Bus,
    channel: Token,
    bots: Vec<Arc<Bot>>,
    cursors: Cursors,
    records: Records<Record>,
    asks: Records<Ask>,
    webhook: Option<Listener>,
    /// Least time between two messages to one chat.
    each: Duration,
    now: fn() -> Timestamp,
    stop: CancellationToken,
}

/// What serves the bots while this process holds the lease.
struct Shift {
    desk: Desk,
    deliverer: Arc<Deliverer>,
    typing: Typing,
    live: Live,
    presses: Presses,
    over: CancellationToken,
}

impl Telegram {
    /// Sets up and asks Telegram who the bots are.
    ///
    /// Succeeds without an answer when Telegram cannot be reached: [`Self::run`] keeps asking.
    /// `tenant` is that of bots that name none.
    ///
    /// # Errors
    /// [`Error::Config`] for an address or token that cannot be right, [`Error::Refused`] when
    /// Telegram does not know a token, [`Error::Listen`] when the webhook's address is taken,
    /// [`Error::Bus`] when the buckets cannot be opened.
    pub async fn open(
        bus: &Bus,
        blobs: &Blobs,
        config: &Config,
        tenant: TenantId,
        secrets: &Secrets,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let bots = Bot::all(config, tenant, secrets, blobs)?;
        let (cursors, records, asks) = tokio::try_join!(
            Cursors::open(bus),
            Records::open(bus, Shelf::Deliveries),
            Records::open(bus, Shelf::Deliveries),
        )?;
        for bot in &bots {
            bot.check(&stop).await?;
        }
        let webhook = match &config.webhook {
            Some(webhook) => Some(Listener::bind(&webhook.url, webhook.listen, &bots).await?),
            None => None,
        };
        Ok(Self {
            bus: bus.clone(),
            channel: Token::parse("telegram").map_err(Error::token)?,
            bots,
            cursors,
            records,
            asks,
            webhook,
            each: config.limits.chat_interval,
            now,
            stop,
        })
    }

    /// Serves whenever it is this process's turn, until stopped; then finishes what is in hand.
    ///
    /// # Errors
    /// None at present: whatever fails on the way is tried again.
    pub async fn run(mut self) -> Result<(), Error> {
        let gate = self.webhook.take().map(|listener| listener.start(self.stop.clone()));
        let holder = Uuid::now_v7();
        while !self.stop.is_cancelled() {
            let shift = self.shift();
            let lease = Lease::acquire(&self.bus, "telegram.adapter", holder, &self.stop).await;
            let lease = match lease {
                Ok(Some(lease)) => lease,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "no lease to be had, trying again");
                    let pause = tokio::time::sleep(Duration::from_secs(1));
                    self.stop.run_until_cancelled(pause).await;
                    continue;
                }
            };
            metrics::gauge!("nexus_telegram_serves").set(1.0);
            tracing::info!(bots = self.bots.len(), "serving the bots");
            let (lost, over) = (lease.lost(), shift.over.clone());
            let watch = async {
                tokio::select! { () = lost.cancelled() => over.cancel(), () = over.cancelled() => {} }
            };
            tokio::join!(watch, Box::pin(self.serve(shift, gate.as_ref())));
            metrics::gauge!("nexus_telegram_serves").set(0.0);
            lease.release().await;
        }
        Ok(())
    }

    fn shift(&self) -> Shift {
        let over = self.stop.child_token();
        let desk = Desk::new(&self.bots, self.records.clone());
        let typing = Typing::new(desk.clone(), over.clone());
        let deliverer = Deliverer {
            desk: desk.clone(),
            asks: self.asks.clone(),
            typing: typing.clone(),
            lanes: Lanes::new(self.each),
        };
        let presses = Presses {
            bus: self.bus.clone(),
            desk: desk.clone(),
            asks: self.asks.clone(),
            tasks: TaskTracker::new(),
            now: self.now,
        };
        let live = Live::new(desk.clone());
        Shift { desk, deliverer: Arc::new(deliverer), typing, live, presses, over }
    }

    fn accept(&self, bot: &Arc<Bot>, shift: &Shift) -> Accept {
        Accept {
            bus: self.bus.clone(),
            bot: Arc::clone(bot),
            desk: shift.desk.clone(),
            typing: shift.typing.clone(),
            presses: shift.presses.clone(),
            now: self.now,
        }
    }

    /// Everything that runs until the lease is lost or the process stops.
    async fn serve(&self, shift: Shift, gate: Option<&Gate>) {
        let over = &shift.over;
        let accept = self.bots.iter().map(|bot| self.accept(bot, &shift));
        let intake = async {
            match gate {
                Some(gate) => gate.hold(accept.collect(), over.clone()).await,
                None => {
                    let polls = accept.map(|accept| {
                        let intake = Intake::new(accept, self.cursors.clone());
                        Box::pin(intake.run(over.clone()))
                    });
                    futures_util::future::join_all(polls).await;
                }
            }
        };
        tokio::join!(
            Box::pin(self.deliver(ANSWERS, Arc::new(Answers(Arc::clone(&shift.deliverer))), over)),
            Box::pin(self.deliver(NOTICES, Arc::new(Notices(Arc::clone(&shift.deliverer))), over)),
            Box::pin(shift.live.clone().run(self.bus.clone(), self.channel.clone(), over.clone())),
            intake,
        );
        shift.typing.close().await;
        shift.presses.tasks.close();
        shift.presses.tasks.wait().await;
    }

    /// Works on a consumer until `over`; the runner ends early when NATS goes away before its
    /// first pause.
    async fn deliver<H: Handler>(&self, consumer: &str, handler: Arc<H>, over: &CancellationToken) {
        let limits =
            Limits { concurrency: CONCURRENCY, deliveries: DELIVERIES, ..Limits::default() };
        loop {
            let stop = over.child_token();
            let runner =
                Runner::new(&self.bus, consumer, Arc::clone(&handler), limits, self.now, stop);
            let Err(error) = runner.run().await else { return };
            tracing::warn!(consumer, error = %Chain(&error), "fetching failed, trying again");
            over.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
        }
    }
}
