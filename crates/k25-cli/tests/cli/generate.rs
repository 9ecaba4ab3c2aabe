//! `k25 generate` on the small fixture models.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::command::{Folder, fixture, fixture_json, k25, k25_with_input};

/// `k25 generate` of a model folder with the fixtures' tokenizer.
fn with_model(dir: &str, rest: &[&str]) -> Vec<String> {
    let tokenizer = fixture("tokenizer");
    let fixed = ["generate", dir, "--tokenizer", &tokenizer];
    fixed
        .iter()
        .chain(rest)
        .map(|&argument| argument.to_owned())
        .collect()
}

/// `k25 generate t1`.
fn arguments(rest: &[&str]) -> Vec<String> {
    with_model(&fixture("t1"), rest)
}

fn reply(rest: &[&str]) -> Value {
    k25(arguments(&[rest, &["--json"]].concat())).json()
}

/// The number of tokens of a text in which special tokens count as such.
fn token_count(text: &str) -> usize {
    let run = k25_with_input(
        [
            "tokenize",
            &fixture("tokenizer"),
            "-",
            "--specials",
            "--json",
        ],
        text.as_bytes(),
    );
    run.json()["ids"].as_array().expect("ids").len()
}

/// The prompt of a conversation as text.
fn rendered(messages: &Value) -> String {
    let run = k25_with_input(
        ["render", "-", "--instant", "--json"],
        messages.to_string().as_bytes(),
    );
    run.json()["prompt"].as_str().expect("text").to_owned()
}

#[test]
fn an_answer_as_json_tells_all() {
    let reply = reply(&["Hello", "--max-tokens", "5", "--seed", "3", "--instant"]);
    assert_eq!(
        (reply["finish_reason"].as_str(), reply["seed"].as_u64()),
        (Some("length"), Some(3))
    );
    assert_eq!(reply["usage"]["completion_tokens"], 5);
    let prompt = rendered(&json!([{"role": "user", "content": "Hello"}]));
    assert_eq!(reply["usage"]["prompt_tokens"], token_count(&prompt));
    assert!(reply["timings"]["total_seconds"].as_f64() > Some(0.0));
    assert!(
        reply["reasoning"].is_null() && reply["content"].is_string(),
        "{reply}"
    );
}

#[test]
fn a_seed_decides_the_answer() {
    let content = |seed: &str| {
        reply(&["Hello", "--max-tokens", "12", "--instant", "--seed", seed])["content"].clone()
    };
    assert_eq!(content("1"), content("1"));
    assert_ne!(content("1"), content("2"));
    let drawn = reply(&["Hello", "--max-tokens", "12", "--instant"]);
    let seed = drawn["seed"]
        .as_u64()
        .expect("the seed that was drawn")
        .to_string();
    assert_eq!(content(&seed), drawn["content"]);
}

#[test]
fn both_executions_say_the_same() {
    let flags = "--raw Hello --temperature 0 --max-tokens 16 --json --execution";
    for model in ["t1", "t2", "t3g"] {
        let content = |execution| {
            let flags: Vec<_> = flags.split(' ').chain([execution]).collect();
            k25(with_model(&fixture(model), &flags)).json()["content"].clone()
        };
        assert_eq!(content("fast"), content("reference"), "{model}");
    }
}

#[test]
fn threads_do_not_change_the_answer() {
    let content = |threads: &str| {
        reply(&[
            "Hi",
            "--instant",
            "--max-tokens",
            "8",
            "--seed",
            "1",
            "--threads",
            threads,
        ])["content"]
            .clone()
    };
    assert_eq!(content("1"), content("3"));
}

#[test]
fn a_pipe_gets_the_answer_without_the_reasoning() {
    let flags = ["Hello", "--max-tokens", "12", "--temperature", "0"];
    let thinking = reply(&flags);
    assert!(thinking["reasoning"].is_string(), "{thinking}");
    let piped = k25(arguments(&flags));
    assert_eq!((piped.code, piped.stdout.as_str()), (Some(0), ""));
    assert!(thinking["content"].is_null() && piped.stderr.contains("within the reasoning"));

    let mut flags = flags.to_vec();
    flags.push("--instant");
    let instant = reply(&flags);
    let content = instant["content"].as_str().expect("an answer");
    assert_eq!(k25(arguments(&flags)).success(), format!("{content}\n"));
}

#[test]
fn a_stop_token_ends_the_answer_and_is_not_shown() {
    // Six folders name a sixth of the vocabulary each as ends; the likeliest first token is in one.
    let mut endings = 0;
    for sixth in 0..6 {
        let folder = Folder::copy_of("t1");
        let ids: Vec<u32> = (sixth * 214..(sixth * 214 + 214).min(1280)).collect();
        folder.with(
            "generation_config.json",
            json!({"eos_token_id": ids}).to_string(),
        );
        let flags = "Hello --instant --temperature 0 --max-tokens 1 --json";
        let flags: Vec<_> = flags.split(' ').collect();
        let reply = k25(with_model(&folder.arg(""), &flags)).json();
        assert_eq!(reply["usage"]["completion_tokens"], 1);
        match reply["finish_reason"].as_str() {
            Some("stop") => {
                endings += 1;
                assert!(reply["content"].is_null(), "{reply}");
            }
            reason => assert_eq!(reason, Some("length")),
        }
    }
    assert_eq!(endings, 1);
}

#[test]
fn pictures_take_as_many_tokens_as_the_reference_says() {
    let placeholder = json!({"type": "image_url", "image_url": {"url": "x"}});
    let messages = json!([{"role": "user", "content": [placeholder, {"type": "text", "text": "What is this?"}]}]);
    let text_tokens = token_count(&rendered(&messages)) - 1;
    for picture in fixture_json("images/meta.json")["images"]
        .as_array()
        .expect("pictures")
    {
        // The largest ones take long in a test build.
        let tokens = picture["num_tokens"].as_u64().expect("a number") as usize;
        if tokens > 64 {
            continue;
        }
        let file = fixture(picture["file"].as_str().expect("a file"));
        let reply = reply(&[
            "What is this?",
            "--image",
            &file,
            "--instant",
            "--max-tokens",
            "1",
        ]);
        assert_eq!(
            reply["usage"]["prompt_tokens"],
            text_tokens + tokens,
            "{}",
            picture["name"]
        );
    }
}

#[test]
fn a_picture_is_seen() {
    let folder = Folder::empty();
    let answer = |picture: String| {
        reply(&[
            "What is this?",
            "--image",
            &picture,
            "--instant",
            "--temperature",
            "0",
            "--max-tokens",
            "24",
        ])["content"]
            .clone()
    };
    let black = folder.with("black.png", png(56, 56, |_, _| [0; 3]));
    let noise = folder.with(
        "noise.png",
        png(56, 56, |x, y| {
            [(x * 37 + y * 91) as u8, (x * y) as u8, (x ^ y) as u8]
        }),
    );
    assert_ne!(answer(black.clone()), answer(noise));
    assert_eq!(answer(black.clone()), answer(format!("file://{black}")));
}

#[test]
fn a_gif_is_a_film_of_chunks() {
    let folder = Folder::empty();
    // Five frames at two a second: all are sampled, in chunks of four and one.
    let film = folder.with("film.gif", gif(28, 28, 5, 50));
    let placeholder = "<|kimi_k25_video_placeholder|>";
    let messages = json!([{"role": "user", "content": [
        {"type": "video_url", "video_url": {"url": "x"}}, {"type": "text", "text": "What happens?"}]}]);
    let chunk = |time: &str| {
        format!("{time}<|media_begin|>video<|media_content|><|media_pad|><|media_end|>")
    };
    let prompt = rendered(&messages);
    assert!(prompt.contains(placeholder));
    let prompt = prompt.replace(
        placeholder,
        &(chunk("00:00:00.000") + &chunk("00:00:02.000")),
    );
    let reply = reply(&[
        "What happens?",
        "--video",
        &film,
        "--instant",
        "--max-tokens",
        "2",
    ]);
    assert_eq!(reply["usage"]["prompt_tokens"], token_count(&prompt));
}

#[test]
fn media_that_are_none_are_named() {
    let folder = Folder::empty();
    let fails = |flag: &str, file: &str, parts: &[&str]| {
        k25(arguments(&["What?", flag, file, "--max-tokens", "1"])).fails(parts);
    };
    // A picture of 60,000 × 60,000 pixels in a hundred bytes.
    let bomb = folder.with("bomb.png", png_header(60_000, 60_000));
    fails(
        "--image",
        &bomb,
        &["medium 1 (picture ", "60000 × 60000 pixels refused"],
    );
    let text = folder.with("text.png", "no picture");
    fails("--image", &text, &["no image that can be read"]);
    let whole = png(28, 28, |_, _| [9; 3]);
    let cut = folder.with("cut.png", &whole[..whole.len() / 2]);
    fails("--image", &cut, &["PNG image cannot be decoded"]);
    fails("--image", "/no/such.png", &["cannot read /no/such.png"]);
    fails("--image", &folder.arg(""), &["not a regular file"]);
    fails(
        "--image",
        "https://example.org/cat.png",
        &["another machine", "download it"],
    );
    fails("--video", "/no/such.mp4", &["/no/such.mp4"]);
    let broken = folder.with("broken.gif", &gif(28, 28, 3, 10)[..40]);
    fails("--video", &broken, &["medium 1 (film "]);
    for model in ["t3g", "t1_bf16"] {
        let arguments = with_model(&fixture(model), &["What?", "--image", &bomb]);
        k25(arguments).fails(&["reads text alone"]);
    }
}

#[test]
fn conversations_come_from_files_and_from_standard_input() {
    let folder = Folder::empty();
    let data = base64(&png(28, 28, |x, _| [x as u8; 3]));
    let messages = json!({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}},
            {"type": "text", "text": "Hello"}]},
    ]});
    let path = folder.with("conversation.json", messages.to_string());
    let flags = [
        "--instant",
        "--temperature",
        "0",
        "--max-tokens",
        "6",
        "--json",
    ];
    let from_file = k25(arguments(&[&["--messages", &path], &flags[..]].concat())).json();
    let from_pipe = k25_with_input(
        arguments(&[&["--messages", "-"], &flags[..]].concat()),
        messages.to_string().as_bytes(),
    )
    .json();
    assert_eq!(from_file["content"], from_pipe["content"]);
    assert_eq!(
        from_file["usage"]["prompt_tokens"],
        token_count(&rendered(&messages))
    );

    let question = k25_with_input(arguments(&[&["-"], &flags[..]].concat()), b"Hello\n").json();
    let flag = k25(arguments(&[&["Hello"], &flags[..]].concat())).json();
    assert_eq!(
        question["content"], flag["content"],
        "a line break at the end is not part of the question"
    );
}

#[test]
fn what_cannot_be_answered_is_named() {
    let fails = |flags: &str, parts: &[&str]| {
        k25(arguments(&flags.split(' ').collect::<Vec<_>>())).fails(parts);
    };
    fails("--messages /no/such.json", &["cannot read /no/such.json"]);
    fails("Hello --context 8", &["there is room for 8", "--context"]);
    fails(
        "Hello --context 40 --max-tokens 100",
        &["100 of answer", "40"],
    );
    k25(arguments(&["", "--raw"])).fails(&["the prompt is empty"]);
    k25_with_input(arguments(&["--messages", "-"]), b"[]").fails(&["the conversation is empty"]);
    k25(["generate", "/no/such/folder", "Hello"]).fails(&["/no/such/folder"]);
    k25(["generate", &fixture("t1"), "Hello"]).fails(&["no tokenizer in", "--tokenizer DIR"]);
}

#[test]
fn a_folder_whose_files_do_not_fit_is_named() {
    let folder = Folder::copy_of("t1");
    let fails = |parts: &[&str]| k25(with_model(&folder.arg(""), &["Hi"])).fails(parts);
    let remove = |name: &str| fs::remove_file(folder.path(name)).expect("removed");

    folder.with("generation_config.json", r#"{"eos_token_id": 5000}"#);
    fails(&["generation_config.json", "5000"]);
    remove("generation_config.json");

    folder.with(
        "preprocessor_config.json",
        r#"{"media_proc_cfg": {"patch_size": 16}}"#,
    );
    fails(&["media_proc_cfg.patch_size", "(14)"]);
    remove("preprocessor_config.json");

    let large = with_one_rank_more(Path::new(&fixture("tokenizer")));
    k25([
        "generate",
        &folder.arg(""),
        "--tokenizer",
        &large.arg(""),
        "Hi",
    ])
    .fails(&["1281 tokens", "1280 embeddings"]);

    let shard = "model-00001-of-000003.safetensors";
    let whole = fs::read(folder.path(shard)).expect("a shard");
    folder.with(shard, &whole[..whole.len() / 2]);
    fails(&["shard 1 of 3 is cut short"]);
}

/// A tokenizer with one token more.
fn with_one_rank_more(tokenizer: &Path) -> Folder {
    let into = Folder::empty();
    let ranks = fs::read_to_string(tokenizer.join("tiktoken.model")).expect("ranks");
    let count = ranks.lines().count();
    into.with(
        "tiktoken.model",
        format!("{}\nenp6enp6eno= {count}\n", ranks.trim_end()),
    );
    into.with("tokenizer_config.json", "{\"added_tokens_decoder\": {}}");
    into
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_answer() {
    use std::io::Read;
    use std::process::{Command, Stdio};

    let mut command = crate::command::program();
    command.args(arguments(&[
        "Hello",
        "--instant",
        "--temperature",
        "0",
        "--max-tokens",
        "200000",
    ]));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0]).expect("the answer begins");
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(interrupted.success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(
        output.status.code(),
        Some(130),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(rest.ends_with('\n'), "the last line is ended");
}

fn png(width: u32, height: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| colour(x, y))
        .collect();
    encoder
        .write_header()
        .expect("a header")
        .write_image_data(&pixels)
        .expect("pixels");
    bytes
}

/// The head of a PNG file that claims this size.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    png::Encoder::new(&mut bytes, width, height)
        .write_header()
        .expect("a header")
        .finish()
        .ok();
    bytes
}

/// A film whose frames last `delay` hundredths of a second each.
fn gif(width: u16, height: u16, frames: u8, delay: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = gif::Encoder::new(&mut bytes, width, height, &[]).expect("a header");
    for number in 0..frames {
        let pixels =
            [number * 40, 255 - number * 40, 90].repeat(usize::from(width) * usize::from(height));
        let mut frame = gif::Frame::from_rgb(width, height, &pixels);
        frame.delay = delay;
        encoder.write_frame(&frame).expect("a frame");
    }
    drop(encoder);
    bytes
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
