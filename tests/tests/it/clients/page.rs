//! The chat page; what is looked at stands in `page.py`.

use super::python;
use crate::support::shared;

async fn holds(claim: &str) {
    let nexus = shared().await;
    python("page.py", &[nexus.http(), &nexus.key().unwrap(), claim]).await;
}

#[tokio::test]
async fn the_page_answers_with_a_tool_and_a_timeline() {
    holds("answers_with_a_tool_and_a_timeline").await;
}

#[tokio::test]
async fn the_page_rebuilds_the_transcript_after_a_reload() {
    holds("rebuilds_the_transcript_after_a_reload").await;
}

#[tokio::test]
async fn the_page_switches_between_dark_and_light() {
    holds("switches_between_dark_and_light").await;
}

#[tokio::test]
async fn the_page_works_on_a_phone() {
    holds("works_on_a_phone").await;
}

#[tokio::test]
async fn the_page_asks_for_a_key_and_says_when_it_is_wrong() {
    holds("asks_for_a_key_and_says_when_it_is_wrong").await;
}

#[tokio::test]
async fn the_page_can_be_used_by_keyboard_alone() {
    holds("can_be_used_by_keyboard_alone").await;
}

#[tokio::test]
async fn the_page_shows_what_is_said_as_text() {
    holds("shows_what_is_said_as_text").await;
}
