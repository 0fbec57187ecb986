//! What goes wrong, on order.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::refusal::{Cause, Refusal};

/// Something that goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Refused with this status before anything is done; 5xx in HTML, as proxies do.
    Status(u16),
    /// Refused with 429 and this many seconds of `retry_after`; only this one call.
    Flood(u64),
    /// Done, but never answered.
    Timeout,
    /// Done, but the answer comes this many milliseconds late.
    Late(u64),
    /// Done, but the connection breaks in the middle of the answer.
    Cut,
    /// Done, but the connection is reset before any of the answer.
    Reset,
    /// The connection is reset before anything is done.
    ResetBefore,
    /// Done, and the answer's bytes trickle over this many milliseconds.
    Slow(u64),
    /// `getUpdates` gives the updates of its last answer once more, before what is new.
    Repeat,
}

/// What happens to one call: a fault, or a refusal in words of one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Fault(Fault),
    Refuse { code: u16, description: String, retry_after: Option<u64> },
}

#[derive(Debug, Clone)]
struct Pending {
    order: Order,
    /// Only calls for this chat.
    chat: Option<i64>,
}

/// Orders that wait for their calls.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// By method in lower case; `*` stands for any.
    pending: HashMap<String, VecDeque<Pending>>,
}

impl Faults {
    pub(super) fn order(&mut self, method: &str, chat: Option<i64>, times: usize, order: &Order) {
        let pending = Pending { order: order.clone(), chat };
        let pending = std::iter::repeat_n(pending, times);
        self.pending.entry(method.to_lowercase()).or_default().extend(pending);
    }

    /// What happens to this call; the order is used up.
    pub(super) fn take(&mut self, method: &str, chat: Option<i64>) -> Option<Order> {
        for name in [method, "*"] {
            let Some(orders) = self.pending.get_mut(name) else { continue };
            let fits = |order: &Pending| order.chat.is_none() || order.chat == chat;
            if let Some(order) = orders.iter().position(fits).and_then(|at| orders.remove(at)) {
                return Some(order.order);
            }
        }
        None
    }

    pub(super) fn len(&self) -> usize {
        self.pending.values().map(VecDeque::len).sum()
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }
}

impl Order {
    /// The refusal that a client gets; `None` where the call is done first or never answered.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refuse { code, description, retry_after } => {
                let refusal = Refusal::new(*code, description.as_str(), Cause::Fault);
                Some(Refusal { retry_after: *retry_after, ..refusal })
            }
            Self::Fault(Fault::Flood(seconds)) => Some(Refusal::too_many(*seconds, Cause::Fault)),
            Self::Fault(Fault::Status(code)) => {
                let status = axum::http::StatusCode::from_u16(*code).ok();
                let reason = status.and_then(|status| status.canonical_reason());
                let description = format!("{}: on order", reason.unwrap_or("Refused"));
                Some(Refusal::new(*code, description, Cause::Fault))
            }
            Self::Fault(
                Fault::Timeout
                | Fault::Late(_)
                | Fault::Cut
                | Fault::Reset
                | Fault::ResetBefore
                | Fault::Slow(_)
                | Fault::Repeat,
            ) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_meets_one_call_of_its_method_and_chat() {
        let mut faults = Faults::default();
        let fault = |fault| Order::Fault(fault);
        faults.order("sendMessage", Some(7), 1, &fault(Fault::Cut));
        faults.order("sendMessage", None, 2, &fault(Fault::Timeout));
        faults.order("*", None, 1, &fault(Fault::Reset));
        assert_eq!(faults.take("sendmessage", Some(8)), Some(fault(Fault::Timeout)));
        assert_eq!(faults.take("sendmessage", Some(7)), Some(fault(Fault::Cut)));
        assert_eq!(faults.take("getme", None), Some(fault(Fault::Reset)));
        assert_eq!(faults.take("sendmessage", Some(8)), Some(fault(Fault::Timeout)));
        assert_eq!(faults.take("sendmessage", Some(8)), None);
        assert_eq!(faults.len(), 0);
    }
}
