//! Prices with dates, and what a usage costs at them.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use nexus_contracts::{Timestamp, Usage};

/// The crate's version that [`Price::since`] `None` stands for; a test compares it with the lock.
pub(super) const CATALOGUE: &str = "catalogue-0.44.0";
/// Tokens that prices are given for.
const TOKENS: u128 = 1_000_000;

/// A row of the price table, in millionths of a US dollar for a million tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Price {
    /// First day, in UTC, on which it holds; `None` for the catalogue's, which held before.
    pub(crate) since: Option<Date>,
    pub(crate) input: u64,
    pub(crate) output: u64,
    /// `None`: as input.
    pub(crate) cache_read: Option<u64>,
    /// `None`: as input.
    pub(crate) cache_write: Option<u64>,
}

impl Price {
    /// The row that holds at a moment, of rows with the oldest first.
    pub(super) fn at(prices: &[Self], at: Timestamp) -> Option<&Self> {
        let today = TimeZone::UTC.to_datetime(at.into()).date();
        prices.iter().rev().find(|price| price.since.is_none_or(|since| since <= today))
    }

    /// What distinguishes this row from the others of its model.
    pub(super) fn version(&self) -> String {
        self.since.map_or_else(|| CATALOGUE.to_owned(), |since| since.to_string())
    }

    /// What a usage costs, in millionths of a US dollar, rounded up to a whole one.
    pub(super) fn of(&self, usage: Usage) -> u64 {
        // A provider that reports more cached tokens than input cannot make us charge for both.
        let read = usage.cache_read_tokens.min(usage.input_tokens);
        let written = usage.cache_write_tokens.min(usage.input_tokens - read);
        let plain = usage.input_tokens - read - written;
        let parts = [
            (plain, self.input),
            (read, self.cache_read.unwrap_or(self.input)),
            (written, self.cache_write.unwrap_or(self.input)),
            (usage.output_tokens, self.output),
        ];
        let cost = |(tokens, price): (u64, u64)| u128::from(tokens) * u128::from(price);
        // Four products of 64 bits each may not fit 128.
        let total = parts.into_iter().map(cost).fold(0, u128::saturating_add);
        u64::try_from(total.div_ceil(TOKENS)).unwrap_or(u64::MAX)
    }
}
