//! What to do next, so that a chat shows an answer. Pure.

use crate::piece::Piece;
use crate::record::Style;

/// What a message shows, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shows {
    /// It was opened by an earlier process.
    Unknown,
    Placeholder,
    /// Telegram has confirmed it.
    Surely(Piece),
    /// Telegram has not said what came of this; it may still come true.
    Perhaps(Piece),
    /// Somebody has deleted it.
    Nothing,
}

/// One message of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) message: i64,
    pub(crate) shows: Shows,
}

/// One call that brings a chat nearer to what it is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send the next message, empty.
    Open,
    /// Send the next message with its text.
    Send,
    /// Change this message.
    Edit(usize),
    /// Take the last message away.
    Drop,
}

/// Whether there is more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The text grows: what is too much now may be needed again.
    Growing,
    Final,
}

/// The next call; `None` when the chat shows what it is to show.
pub(crate) fn next(style: Style, stage: Stage, slots: &[Slot], wanted: &[Piece]) -> Option<Step> {
    if style == Style::Plain {
        return (slots.len() < wanted.len()).then_some(Step::Send);
    }
    for (index, (slot, piece)) in slots.iter().zip(wanted).enumerate() {
        match &slot.shows {
            Shows::Surely(shown) if shown == piece => {}
            // The same once more changes nothing, whichever of the two comes last.
            Shows::Perhaps(sent) if sent == piece => return Some(Step::Edit(index)),
            Shows::Unknown | Shows::Placeholder | Shows::Surely(_) => {
                return Some(Step::Edit(index));
            }
            // An edit that is still on its way could come after ours. Later messages go first, so
            // that the new one comes before them.
            Shows::Perhaps(_) | Shows::Nothing => return Some(Step::Drop),
        }
    }
    if slots.len() < wanted.len() {
        return Some(Step::Open);
    }
    (slots.len() > wanted.len() && stage == Stage::Final).then_some(Step::Drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str) -> Piece {
        Piece::plain(text)
    }

    fn slots(shows: Vec<Shows>) -> Vec<Slot> {
        let number = |(message, shows)| Slot { message, shows };
        (1..).zip(shows).map(number).collect()
    }

    fn step(shows: Vec<Shows>, wanted: &[Piece]) -> Option<Step> {
        next(Style::Placeholder, Stage::Final, &slots(shows), wanted)
    }

    #[test]
    fn messages_are_opened_before_they_are_filled_one_by_one() {
        let wanted = [piece("a"), piece("b")];
        let a = || Shows::Surely(piece("a"));
        assert_eq!(step(vec![], &wanted), Some(Step::Open));
        assert_eq!(step(vec![Shows::Placeholder], &wanted), Some(Step::Edit(0)));
        assert_eq!(step(vec![a()], &wanted), Some(Step::Open));
        assert_eq!(step(vec![a(), Shows::Placeholder], &wanted), Some(Step::Edit(1)));
        assert_eq!(step(vec![a(), Shows::Surely(piece("b"))], &wanted), None);
    }

    #[test]
    fn what_an_earlier_process_opened_is_filled_and_not_sent_again() {
        let wanted = [piece("a")];
        assert_eq!(step(vec![Shows::Unknown], &wanted), Some(Step::Edit(0)));
        assert_eq!(step(vec![Shows::Unknown, Shows::Unknown], &[]), Some(Step::Drop));
    }

    #[test]
    fn an_edit_that_may_come_later_costs_its_message_unless_it_is_the_same() {
        let wanted = [piece("final"), piece("more")];
        let late = || Shows::Perhaps(piece("part"));
        assert_eq!(step(vec![late()], &wanted), Some(Step::Drop));
        assert_eq!(step(vec![late(), Shows::Placeholder], &wanted), Some(Step::Drop));
        assert_eq!(step(vec![Shows::Perhaps(piece("final"))], &wanted), Some(Step::Edit(0)));
        assert_eq!(step(vec![Shows::Nothing], &wanted), Some(Step::Drop));
    }

    #[test]
    fn surplus_goes_when_nothing_more_comes() {
        let shown = slots(vec![Shows::Surely(piece("a")), Shows::Placeholder]);
        let wanted = [piece("a")];
        assert_eq!(next(Style::Placeholder, Stage::Growing, &shown, &wanted), None);
        assert_eq!(next(Style::Placeholder, Stage::Final, &shown, &wanted), Some(Step::Drop));
    }

    #[test]
    fn plain_messages_are_sent_once_each() {
        let wanted = [piece("a"), piece("b")];
        let plain = |shows| next(Style::Plain, Stage::Final, &slots(shows), &wanted);
        assert_eq!(plain(vec![]), Some(Step::Send));
        assert_eq!(plain(vec![Shows::Unknown]), Some(Step::Send));
        assert_eq!(plain(vec![Shows::Unknown, Shows::Unknown]), None);
    }
}
