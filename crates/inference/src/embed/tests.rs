use super::*;

#[test]
fn wrong_texts_are_refused_with_what_is_wrong() {
    let texts = |count: usize| vec!["x".to_owned(); count];
    assert_eq!(check(&texts(1)), Ok(()));
    assert_eq!(check(&texts(MOST_INPUTS)), Ok(()));
    assert_eq!(check(&[" ".to_owned()]), Ok(()));
    assert_eq!(check(&[]).unwrap_err(), "There are no texts. Send at least one.");
    let many = check(&texts(MOST_INPUTS + 1)).unwrap_err();
    assert_eq!(many, "There are 2049 texts, the limit is 2048. Send fewer at once.");
    let empty = check(&["x".to_owned(), String::new()]).unwrap_err();
    assert_eq!(empty, "Text 1 (from 0) is empty. Leave it out.");
}

#[test]
fn any_model_is_the_first_one_whose_name_says_that_it_embeds() {
    let offer = |provider: &str, models: &[&str], available| Offer {
        provider: provider.to_owned(),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        vendor: provider.to_owned(),
        available,
        reachable: available,
        only_these: false,
        demo: false,
        local: false,
        searches_web: false,
    };
    let offers = [
        offer("openai", &["text-embedding-3-small"], false),
        offer("groq", &["llama"], true),
        offer("ollama", &["llama", "Nomic-Embed-Text"], true),
        offer("local", &["embedder"], true),
    ];
    assert_eq!(first_embedder(&offers).as_deref(), Some("ollama/Nomic-Embed-Text"));
    assert_eq!(first_embedder(&offers[..2]), None);
}
