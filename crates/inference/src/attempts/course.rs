//! Which target is asked when. Pure: moments are times since the start of the call.

use std::time::Duration;

use super::next::{Failed, Next, SHORT, Scene, Tried};

/// The targets of a call, and how far it got with each.
#[derive(Debug)]
pub(crate) struct Course {
    targets: Vec<Standing>,
    /// The one that is asked, or asked again, before any other.
    current: Option<usize>,
}

#[derive(Debug, Clone, Default)]
struct Standing {
    tried: Tried,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Fresh,
    /// Not before this moment.
    Later(Duration),
    Out,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Ask this target.
    Ask(usize),
    /// Wait until this moment for this target.
    Wait(usize, Duration),
    /// There is nobody left.
    Over,
}

impl Course {
    pub(crate) fn new(targets: usize) -> Self {
        Self { targets: vec![Standing::default(); targets], current: None }
    }

    /// What is to be done: the target in hand, else the next that was not asked, else the first
    /// that may be asked again.
    pub(crate) fn pick(&self, now: Duration) -> Pick {
        let due = |target: usize, at: Duration| {
            if at <= now { Pick::Ask(target) } else { Pick::Wait(target, at) }
        };
        if let Some(target) = self.current
            && let Some(standing) = self.targets.get(target)
        {
            match standing.state {
                State::Fresh => return Pick::Ask(target),
                State::Later(at) => return due(target, at),
                State::Out => {}
            }
        }
        if let Some(fresh) = self.targets.iter().position(|target| target.state == State::Fresh) {
            return Pick::Ask(fresh);
        }
        let later =
            self.targets.iter().enumerate().filter_map(|(target, standing)| match standing.state {
                State::Later(at) => Some((at, target)),
                State::Fresh | State::Out => None,
            });
        later.min().map_or(Pick::Over, |(at, target)| due(target, at))
    }

    /// Whether a target other than this one has not been asked.
    pub(crate) fn has_others(&self, target: usize) -> bool {
        let mut others = self.targets.iter().enumerate().filter(|(at, _)| *at != target);
        others.any(|(_, other)| other.state == State::Fresh)
    }

    /// A request goes to this target now.
    pub(crate) fn ask(&mut self, target: usize, now: Duration) {
        self.current = Some(target);
        if let Some(standing) = self.targets.get_mut(target) {
            standing.tried.ask(now);
        }
    }

    /// The request to this target failed.
    pub(crate) fn failed(&mut self, target: usize, failed: Failed, scene: Scene) -> Next {
        let Some(standing) = self.targets.get_mut(target) else { return Next::GiveUp };
        let next = standing.tried.next(failed, scene);
        match next {
            Next::Retry { after } if scene.others || after <= SHORT => {
                self.wait(target, scene.now + after);
            }
            // One that waits may be due before: whoever comes first is asked.
            Next::Retry { after } => self.postpone(target, scene.now + after),
            Next::Another { again: Some(pause) } => self.postpone(target, scene.now + pause),
            Next::Another { again: None } => self.rule_out(target),
            Next::GiveUp => self.targets.iter_mut().for_each(|each| each.state = State::Out),
        }
        next
    }

    /// This target and no other, at this moment.
    pub(crate) fn wait(&mut self, target: usize, until: Duration) {
        self.set(target, State::Later(until));
        self.current = Some(target);
    }

    /// This target's key may not be used for so long: a moment is waited for, though another could
    /// be asked; of those that rest longer the first is asked that may be.
    pub(crate) fn rest(&mut self, target: usize, again: Duration, until: Duration) {
        if self.has_others(target) && again <= SHORT {
            self.wait(target, until);
        } else {
            self.postpone(target, until);
        }
    }

    /// This target at this moment, if no other answers before.
    pub(crate) fn postpone(&mut self, target: usize, until: Duration) {
        self.set(target, State::Later(until));
        self.current = None;
    }

    /// Never this target.
    pub(crate) fn rule_out(&mut self, target: usize) {
        self.set(target, State::Out);
        self.current = None;
    }

    fn set(&mut self, target: usize, state: State) {
        if let Some(standing) = self.targets.get_mut(target) {
            standing.state = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn targets_come_in_order_and_those_that_wait_come_last() {
        let mut course = Course::new(3);
        assert_eq!(course.pick(s(0)), Pick::Ask(0));
        course.postpone(0, s(9));
        assert_eq!(course.pick(s(1)), Pick::Ask(1));
        assert!(course.has_others(1));
        course.postpone(1, s(5));
        assert_eq!(course.pick(s(1)), Pick::Ask(2));
        assert!(!course.has_others(2));
        course.rule_out(2);
        assert_eq!(course.pick(s(1)), Pick::Wait(1, s(5)));
        assert_eq!(course.pick(s(6)), Pick::Ask(1));
        course.rule_out(1);
        assert_eq!(course.pick(s(6)), Pick::Wait(0, s(9)));
        course.rule_out(0);
        assert_eq!(course.pick(s(6)), Pick::Over);
    }

    #[test]
    fn target_in_hand_is_waited_for_before_others_are_asked() {
        let mut course = Course::new(2);
        course.wait(0, s(1));
        assert_eq!(course.pick(s(0)), Pick::Wait(0, s(1)));
        assert_eq!(course.pick(s(1)), Pick::Ask(0));
        assert_eq!(Course::new(0).pick(s(0)), Pick::Over);
    }

    #[test]
    fn of_keys_that_rest_the_first_to_wake_is_asked() {
        let mut course = Course::new(2);
        course.rest(0, s(30), s(30));
        course.rest(1, s(60), s(60));
        assert_eq!(course.pick(s(0)), Pick::Wait(0, s(30)));
        let mut course = Course::new(2);
        course.rest(0, s(2), s(2));
        assert_eq!(course.pick(s(0)), Pick::Wait(0, s(2)), "a moment is waited for");
    }

    #[test]
    fn limited_target_is_not_waited_for_when_another_is_due_before() {
        let mut course = Course::new(2);
        course.postpone(0, s(10));
        course.ask(1, s(0));
        let failed = Failed {
            class: crate::call::Class::RateLimited,
            retry_after: Some(s(50)),
            status: Some(429),
        };
        let scene = Scene {
            now: s(0),
            left: s(90),
            shown: false,
            others: false,
            stands_in: true,
            jitter: 1.0,
            despite_filter: false,
        };
        let after = s(50) + Duration::from_millis(100);
        assert_eq!(course.failed(1, failed, scene), Next::Retry { after });
        assert_eq!(course.pick(s(0)), Pick::Wait(0, s(10)));
    }
}
