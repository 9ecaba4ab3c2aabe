//! A fixture model that answers conversations.

use std::path::PathBuf;
use std::time::Duration;

use k25_chat::{
    Content, Conversation, Media, MediaKind, Message, ParsedMessage, Part, RenderOptions, Role,
    SpecialToken,
};
use k25_local::{
    Answer, AnswerOptions, Execution, FileAccess, FinishReason, Finished, LocalError, LocalEvent,
    LocalModel, LocalOptions, Progress, SamplingParams, SourceError,
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(name)
}

fn options() -> LocalOptions {
    LocalOptions {
        tokenizer: Some(fixture("tokenizer")),
        ..LocalOptions::default()
    }
}

fn open(options: &LocalOptions) -> LocalModel {
    LocalModel::open(fixture("t1"), options).expect("a sound model")
}

fn question(text: &str) -> Conversation {
    Conversation::new(vec![Message::user(text)])
}

fn question_with(kind: MediaKind, source: String) -> Conversation {
    let media = Part::Media(Media {
        kind,
        source: Some(source),
    });
    let content = Content::Parts(vec![media, Part::Text("What is this?".to_owned())]);
    Conversation::new(vec![Message {
        content: Some(content),
        ..Message::new(Role::User, "")
    }])
}

fn greedy(max_tokens: usize) -> SamplingParams {
    SamplingParams {
        max_tokens,
        ..SamplingParams::greedy()
    }
}

fn begin(model: &LocalModel, conversation: Conversation, params: SamplingParams) -> Answer {
    let prepared = model
        .prepare(conversation, &RenderOptions::default())
        .expect("a good prompt");
    model
        .answer(prepared, AnswerOptions::new(params))
        .expect("an engine")
}

fn finish(answer: Answer) -> (ParsedMessage, Finished) {
    let mut message = ParsedMessage::default();
    let mut end = None;
    for event in answer {
        assert!(end.is_none(), "nothing follows the end");
        match event.expect("no error") {
            LocalEvent::Delta(delta) => message.add(&delta),
            LocalEvent::Token(_) => panic!("none were asked for"),
            LocalEvent::Finished(finished) => end = Some(finished),
        }
    }
    (message, end.expect("an end"))
}

#[test]
fn a_conversation_is_answered() {
    let model = open(&options());
    let (message, finished) = finish(begin(&model, question("Hello"), greedy(12)));
    assert_eq!(finished.reason, FinishReason::Length);
    assert_eq!(finished.usage.generated_tokens, 12);
    assert!(finished.timing.first_token <= Some(finished.timing.total));
    // The prompt ends inside the reasoning, and random weights do not end it.
    assert!(message.reasoning.is_some() && message.content.is_none());
}

#[test]
fn answers_do_not_depend_on_their_company() {
    let model = open(&options());
    let alone: Vec<_> = ["Hello", "Bye"]
        .map(|text| finish(begin(&model, question(text), greedy(20))).0)
        .into();
    let answers = ["Hello", "Bye"].map(|text| begin(&model, question(text), greedy(20)));
    assert_eq!(answers.map(|answer| finish(answer).0).to_vec(), alone);
}

#[test]
fn a_prompt_seen_before_is_not_computed_again() {
    let model = open(&options());
    let (first, _) = finish(begin(&model, question("Hello"), greedy(8)));
    let (second, finished) = finish(begin(&model, question("Hello"), greedy(8)));
    assert_eq!(first, second);
    assert_eq!(finished.usage.cached_rows, finished.usage.prompt_rows - 1);
}

#[test]
fn a_cancelled_answer_says_so() {
    let model = open(&options());
    let mut answer = begin(&model, question("Hello"), greedy(100_000));
    let first = answer
        .next_within(Duration::from_secs(60))
        .expect("no error");
    assert!(matches!(first, Progress::Event(LocalEvent::Delta(_))));
    answer.cancel();
    let (_, finished) = finish(answer);
    assert_eq!(finished.reason, FinishReason::Cancelled);
    assert!(finished.usage.generated_tokens < 100_000);
}

#[test]
fn the_family_s_ends_are_added_by_offset() {
    let model = open(&options());
    let ends = SpecialToken::STOP.map(|token| model.tokenizer().special_id(token));
    assert!(
        ends.iter().all(|id| model.stop_ids().contains(id)),
        "{:?}",
        model.stop_ids()
    );
}

#[test]
fn executions_agree_on_a_picture() {
    let picture = fixture("images/rgb_100x37.png").display().to_string();
    let answer = |execution| {
        let model = open(&LocalOptions {
            execution,
            files: FileAccess::Allowed,
            ..options()
        });
        let conversation = question_with(MediaKind::Image, picture.clone());
        finish(begin(&model, conversation, greedy(12))).0
    };
    assert_eq!(answer(Execution::Fast), answer(Execution::Reference));
}

#[test]
fn a_stranger_s_conversation_opens_no_file() {
    let model = open(&options());
    for kind in [MediaKind::Image, MediaKind::Video] {
        let path = fixture("images/rgb_28x28.png").display().to_string();
        for address in [
            path.clone(),
            format!("file://{path}"),
            "/dev/zero".to_owned(),
        ] {
            let prepared = model.prepare(question_with(kind, address), &RenderOptions::default());
            let refused = matches!(
                prepared.err(),
                Some(LocalError::Source {
                    source: SourceError::FileRefused { .. },
                    ..
                })
            );
            assert!(refused);
        }
    }
}

#[test]
fn more_media_than_there_is_room_for_are_not_loaded() {
    let picture = fixture("images/rgb_100x37.png").display().to_string();
    let model = open(&LocalOptions {
        context_tokens: Some(30),
        files: FileAccess::Allowed,
        ..options()
    });
    let media = |source: String| {
        Part::Media(Media {
            kind: MediaKind::Image,
            source: Some(source),
        })
    };
    // Four pictures of eight tokens; behind them one that would be an error.
    let mut parts = vec![media(picture); 4];
    parts.push(media("/no/such.png".to_owned()));
    let message = Message {
        content: Some(Content::Parts(parts)),
        ..Message::new(Role::User, "")
    };
    let error = model.prepare(Conversation::new(vec![message]), &RenderOptions::default());
    let error = error.err().expect("too many");
    assert!(
        matches!(
            error,
            LocalError::MediaTooLong {
                media: 4,
                tokens: 32,
                context_tokens: 30
            }
        ),
        "{error}"
    );
}
