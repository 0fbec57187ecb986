use nexus_contracts::{Finish, RequestedCall};
use proptest::prelude::*;

use super::*;

pub(super) fn said(text: &str) -> Completion {
    Completion {
        text: text.to_owned(),
        tool_calls: Vec::new(),
        finish: Finish::Stop,
        usage: None,
        turn: None,
        cost_microusd: None,
        provider_request_id: None,
        identity: Default::default(),
    }
}

fn called(tool: &str, arguments: &str) -> Completion {
    let call =
        RequestedCall { provider_id: None, tool: tool.to_owned(), arguments: arguments.to_owned() };
    Completion { tool_calls: vec![call], ..said("") }
}

fn weighed(answers: &[Completion], asked: u32) -> (usize, Consensus) {
    weigh(&answers.iter().collect::<Vec<_>>(), asked)
}

fn is_settled(answers: &[Completion], asked: u32) -> bool {
    settled(&answers.iter().collect::<Vec<_>>(), asked)
}

#[test]
fn three_of_five_are_the_majority() {
    let answers = ["It is 41.", "The answer is 42.", "42", "So: 41", "6 * 7 = 42"].map(said);
    let (chosen, consensus) = weighed(&answers, 5);
    assert_eq!(chosen, 1);
    let entropy = -(0.6 * 0.6_f64.log2() + 0.4 * 0.4_f64.log2());
    assert!((consensus.entropy - entropy).abs() < 1e-12);
    assert_eq!(
        consensus,
        Consensus {
            asked: 5,
            answered: 5,
            method: "number".to_owned(),
            clusters: vec![3, 2],
            majority_share: 0.6,
            disagreement: 0.4,
            entropy: consensus.entropy,
        }
    );
}

#[test]
fn calls_agree_whatever_the_order_of_their_arguments() {
    let answers = [
        called("clock", "{\"zone\":\"UTC\",\"n\":1}"),
        called("clock", "{ \"n\": 1.0, \"zone\": \"UTC\" }"),
        called("clock", "{\"zone\":\"CET\",\"n\":1}"),
        said("It is noon."),
    ];
    let (chosen, consensus) = weighed(&answers, 4);
    assert_eq!((chosen, consensus.clusters), (0, vec![2, 1, 1]));
    assert_eq!(consensus.method, "tool_calls");
}

#[test]
fn texts_agree_by_their_words() {
    let answers = [
        "The capital of France is Paris, on the Seine.",
        "I would rather not say.",
        "The capital of France is Paris (on the Seine)!",
    ]
    .map(said);
    let (chosen, consensus) = weighed(&answers, 3);
    assert_eq!((chosen, consensus.method.as_str(), consensus.clusters), (0, "words", vec![2, 1]));
}

#[test]
fn all_equal_is_no_disagreement_and_nothing_is_nothing() {
    let (_, consensus) = weighed(&["7", "7"].map(said), 2);
    assert_eq!((consensus.disagreement, consensus.entropy), (0.0, 0.0));
    let (chosen, consensus) = weighed(&[], 5);
    assert_eq!((chosen, consensus.answered, consensus.majority_share), (0, 0, 0.0));
}

#[test]
fn majority_is_settled_when_nothing_to_come_can_change_it() {
    let answers = ["7", "7", "7", "8", "8"].map(said);
    for (seen, asked, wanted) in [
        (0, 5, false),
        (1, 1, true),
        (2, 5, false),
        (3, 5, true),
        (4, 5, true),
        (3, 6, false),
        (5, 5, true),
    ] {
        assert_eq!(is_settled(&answers[..seen], asked), wanted, "{seen} of {asked}");
    }
    // One more text could be like both of the others.
    let texts = [
        "one two three four five",
        "one two three four five",
        "one two three four five",
        "a b c d e f g h i j",
        "a b c d e f g h k l",
    ]
    .map(said);
    assert!(!is_settled(&texts, 6));
}

fn any_answer() -> impl Strategy<Value = Completion> {
    let text = prop_oneof![
        (0..4_u32).prop_map(|number| number.to_string()),
        prop_oneof![Just("A"), Just("B"), Just("C")].prop_map(str::to_owned),
        (0..3_u32).prop_map(|number| format!("{{\"answer\": {number}}}")),
        "[a-d]( [a-d]){0,6}",
    ];
    prop_oneof![
        4 => text.prop_map(|text| said(&text)),
        1 => (0..2_u32).prop_map(|number| called("t", &format!("{{\"n\":{number}}}"))),
    ]
}

proptest! {
    #[test]
    fn order_of_the_samples_changes_nothing_that_is_measured(
        answers in proptest::collection::vec(any_answer(), 1..9),
        turns in 0..9_usize,
    ) {
        let mut turned = answers.clone();
        turned.reverse();
        let turns = turns % turned.len();
        turned.rotate_left(turns);
        let (_, one) = weighed(&answers, 9);
        let (_, other) = weighed(&turned, 9);
        prop_assert_eq!(&one.clusters, &other.clusters);
        prop_assert_eq!(one.majority_share, other.majority_share);
        prop_assert!((one.entropy - other.entropy).abs() < 1e-12);
    }

    #[test]
    fn every_answer_is_in_one_group_and_the_shares_are_one(
        answers in proptest::collection::vec(any_answer(), 1..9),
    ) {
        let (chosen, consensus) = weighed(&answers, 9);
        prop_assert!(chosen < answers.len());
        prop_assert_eq!(consensus.clusters.iter().sum::<u32>(), answers.len() as u32);
        prop_assert!(consensus.clusters.is_sorted_by(|a, b| a >= b));
        prop_assert!((consensus.majority_share + consensus.disagreement - 1.0).abs() < 1e-12);
        let most = f64::from(answers.len() as u32).log2();
        prop_assert!(consensus.entropy >= 0.0 && consensus.entropy <= most + 1e-12);
    }

    #[test]
    fn settled_majority_stays_the_majority(
        answers in proptest::collection::vec(any_answer(), 2..9), seen in 1..8_usize,
    ) {
        let asked = count(answers.len());
        let seen = seen.min(answers.len());
        if is_settled(&answers[..seen], asked) {
            let (chosen, _) = weighed(&answers[..seen], asked);
            let (finally, _) = weighed(&answers, asked);
            let (chosen, finally) = (gist(&answers[chosen]), gist(&answers[finally]));
            prop_assert!(chosen == finally || (chosen.is_text() && finally.is_text()));
        }
    }
}
