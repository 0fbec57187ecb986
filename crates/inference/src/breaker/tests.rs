use proptest::prelude::*;

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn fail(breaker: &mut Breaker, now: Duration) {
    let pass = breaker.admit(now).unwrap();
    breaker.settle(pass, Verdict::Fails, now);
}

#[test]
fn it_opens_at_half_of_at_least_five_and_doubles_up_to_two_minutes() {
    let mut breaker = Breaker::default();
    for _ in 0..4 {
        fail(&mut breaker, s(0));
    }
    assert!(breaker.clone().admit(s(0)).is_ok(), "four are not enough");
    fail(&mut breaker, s(0));
    let mut now = s(0);
    for pause in [10, 20, 40, 80, 120, 120] {
        assert_eq!(breaker.admit(now), Err(s(pause)));
        assert_eq!(breaker.admit(now + s(pause - 1)), Err(s(1)));
        now += s(pause);
        fail(&mut breaker, now);
    }
}

#[test]
fn one_call_probes_and_its_success_closes() {
    let mut breaker = Breaker::default();
    (0..5).for_each(|_| fail(&mut breaker, s(0)));
    let probe = breaker.admit(s(10)).unwrap();
    assert_eq!(breaker.admit(s(11)), Err(WHILE_PROBED));
    breaker.settle(probe, Verdict::Works, s(12));
    assert!(breaker.admit(s(12)).is_ok() && breaker.admit(s(12)).is_ok());
    (0..5).for_each(|_| fail(&mut breaker, s(13)));
    assert_eq!(breaker.admit(s(13)), Err(s(10)), "it begins anew");
}

#[test]
fn probe_that_says_nothing_leaves_the_next_call_to_probe() {
    let mut breaker = Breaker::default();
    (0..5).for_each(|_| fail(&mut breaker, s(0)));
    let probe = breaker.admit(s(10)).unwrap();
    breaker.settle(probe, Verdict::Nothing, s(11));
    assert!(breaker.admit(s(11)).is_ok());
    assert!(breaker.admit(s(11)).is_err());
}

#[test]
fn call_from_before_the_opening_closes_nothing() {
    let mut breaker = Breaker::default();
    let early = breaker.admit(s(0)).unwrap();
    (0..5).for_each(|_| fail(&mut breaker, s(0)));
    breaker.settle(early, Verdict::Works, s(1));
    assert_eq!(breaker.admit(s(1)), Err(s(9)));
}

#[tokio::test(start_paused = true)]
async fn dropped_probe_gives_its_place_back() {
    let breakers = Breakers::default();
    let line =
        || Line { provider: "p".to_owned(), base_url: "u".to_owned(), model: "m".to_owned() };
    for _ in 0..5 {
        breakers.admit(line(), "m").unwrap().settle(Verdict::Fails);
    }
    assert!(breakers.admit(line(), "m").is_err());
    let other = Line { model: "n".to_owned(), ..line() };
    assert!(breakers.admit(other, "n").is_ok(), "only this model is left alone");
    tokio::time::advance(s(10)).await;
    let probe = breakers.admit(line(), "m").unwrap();
    assert!(breakers.admit(line(), "m").is_err());
    drop(probe);
    breakers.admit(line(), "m").unwrap().settle(Verdict::Works);
    assert!(breakers.admit(line(), "m").is_ok() && breakers.admit(line(), "m").is_ok());
}

#[tokio::test(start_paused = true)]
async fn look_takes_no_probe() {
    let breakers = Breakers::default();
    let line =
        || Line { provider: "p".to_owned(), base_url: "u".to_owned(), model: "m".to_owned() };
    assert_eq!(breakers.look(&line()), None);
    for _ in 0..5 {
        breakers.admit(line(), "m").unwrap().settle(Verdict::Fails);
    }
    assert_eq!(breakers.look(&line()), Some(s(10)));
    tokio::time::advance(s(10)).await;
    assert_eq!((breakers.look(&line()), breakers.look(&line())), (None, None));
    let _probe = breakers.admit(line(), "m").unwrap();
    assert_eq!(breakers.look(&line()), Some(WHILE_PROBED));
}

#[tokio::test(start_paused = true)]
async fn failing_names_without_number_are_not_all_kept() {
    let breakers = Breakers::default();
    let line =
        |name: String| Line { provider: "p".to_owned(), base_url: String::new(), model: name };
    let fail = |name: &str, times| {
        for _ in 0..times {
            breakers.admit(line(name.to_owned()), "other").unwrap().settle(Verdict::Fails);
        }
    };
    fail("open", 5);
    for number in 0..2 * MAX_BREAKERS {
        tokio::time::advance(Duration::from_micros(1)).await;
        fail(&number.to_string(), 1);
    }
    let known = breakers.lock();
    assert!(known.len() <= MAX_BREAKERS, "{}", known.len());
    let kept = |name: &str| known.contains_key(&line(name.to_owned()));
    let last = (2 * MAX_BREAKERS - 1).to_string();
    assert_eq!((kept("open"), kept("0"), kept(&last)), (true, false, true));
}

/// What the notes say, written down as plainly as it goes: the whole history, no state.
#[derive(Debug, Default)]
struct Reference {
    history: Vec<bool>,
    opened: Option<(Duration, Duration)>,
    openings: u32,
    probing: bool,
}

impl Reference {
    fn may(&self, now: Duration) -> bool {
        !self.probing && self.opened.is_none_or(|(at, pause)| now >= at + pause)
    }

    fn open(&mut self, now: Duration) {
        let pause = s((10 * 2_u64.pow(self.openings.min(10))).min(120));
        self.opened = Some((now, pause));
        self.openings += 1;
        self.history.clear();
    }

    fn settle(&mut self, verdict: Verdict, now: Duration) {
        let probe = std::mem::take(&mut self.probing);
        match (probe, verdict) {
            (true, Verdict::Works) => *self = Self::default(),
            (true, Verdict::Fails) => self.open(now),
            (true, Verdict::Nothing) => self.opened = Some((now, Duration::ZERO)),
            (false, Verdict::Nothing) => {}
            (false, verdict) => {
                self.history.push(verdict == Verdict::Fails);
                let last = &self.history[self.history.len().saturating_sub(20)..];
                let failed = last.iter().filter(|failed| **failed).count();
                if verdict == Verdict::Fails && last.len() >= 5 && failed * 2 >= last.len() {
                    self.open(now);
                }
            }
        }
    }
}

proptest! {
    /// Calls one after another, each with a pause before it.
    #[test]
    fn it_does_what_the_rules_say(calls in proptest::collection::vec((0_u64..30, 0..4_u8), 0..200)) {
        let (mut breaker, mut reference) = (Breaker::default(), Reference::default());
        let mut now = Duration::ZERO;
        for (pause, verdict) in calls {
            now += s(pause);
            let verdict = match verdict {
                0 => Verdict::Works,
                1 => Verdict::Nothing,
                _ => Verdict::Fails,
            };
            let admitted = breaker.admit(now);
            prop_assert_eq!(admitted.is_ok(), reference.may(now));
            if let Ok(pass) = admitted {
                reference.probing = reference.opened.is_some();
                prop_assert!(!reference.probing || breaker.clone().admit(now).is_err(), "one probe");
                breaker.settle(pass, verdict, now);
                reference.settle(verdict, now);
            }
        }
    }
}
