//! JavaScript by QuickJS, in the sandbox's own process: one runtime, one run, then the process ends.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rquickjs::context::EvalOptions;
use rquickjs::{
    CatchResultExt, CaughtError, Context, Ctx, Exception, Function, Object, Promise, Runtime,
    TypedArray, Value,
};

use crate::files::FileName;
use crate::spec::Limits;
use crate::stage::kernel::bytes_of;

/// What the language lacks.
const PRELUDE: &str = include_str!("javascript/prelude.js");
/// Stack of the engine, in bytes: less than the process has.
const STACK_BYTES: usize = 2 << 20;
/// The name of the code in traces.
const NAME: &str = "script.js";

/// Runs the code and prints what it prints, its last value and its errors; the result is the exit
/// code. To be called behind the walls only.
pub(crate) fn run(code: &str, limits: &Limits) -> i32 {
    let Ok(runtime) = Runtime::new() else {
        return fail("no memory for JavaScript");
    };
    // Less than the process may have, so that it is the engine that says so.
    let memory = usize::try_from(limits.memory_bytes / 4 * 3).unwrap_or(usize::MAX);
    runtime.set_memory_limit(memory);
    runtime.set_max_stack_size(STACK_BYTES);
    let Ok(context) = Context::full(&runtime) else {
        return fail("no memory for JavaScript");
    };
    let exit_code = context.with(|ctx| match evaluate(&ctx, code).catch(&ctx) {
        Ok(()) => 0,
        Err(error) => fail(&describe(&error)),
    });
    // The process ends now; taking the heap apart would only take time.
    std::mem::forget((context, runtime));
    exit_code
}

fn fail(what: &str) -> i32 {
    let _ = std::io::stderr().write_all(format!("{what}\n").as_bytes());
    1
}

fn describe(error: &CaughtError<'_>) -> String {
    match error {
        CaughtError::Exception(exception) => {
            let name: Option<String> = exception.as_object().get("name").ok();
            let message = exception.message().unwrap_or_default();
            let stack = exception.stack().unwrap_or_default();
            let name = name.unwrap_or_else(|| "Error".to_owned());
            format!("{name}: {message}\n{}", stack.trim_end())
        }
        CaughtError::Value(value) => match value.as_string().map(|text| text.to_string()) {
            Some(Ok(text)) => format!("thrown: {text}"),
            _ => format!("thrown: {value:?}"),
        },
        // Without memory the engine cannot even make an error.
        CaughtError::Error(error) => format!("{error}; is the memory limit too low?"),
    }
}

fn evaluate(ctx: &Ctx<'_>, code: &str) -> rquickjs::Result<()> {
    let prelude: Function = ctx.eval(PRELUDE)?;
    let show: Function = prelude.call((host(ctx)?,))?;
    let mut options = EvalOptions::default();
    options.strict = false;
    options.promise = true;
    options.filename = Some(NAME.to_owned());
    let promise: Promise = ctx.eval_with_options(code, options)?;
    let result: Object = promise.finish()?;
    let value: Value = result.get("value")?;
    show.call((value,))
}

/// What the prelude is built on.
fn host<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    host.set("write", Function::new(ctx.clone(), write)?)?;
    host.set("readText", Function::new(ctx.clone(), read_text)?)?;
    host.set("readBytes", Function::new(ctx.clone(), read_bytes)?)?;
    host.set("writeText", Function::new(ctx.clone(), write_text)?)?;
    host.set("writeBytes", Function::new(ctx.clone(), write_bytes)?)?;
    host.set("list", Function::new(ctx.clone(), list)?)?;
    host.set("remove", Function::new(ctx.clone(), remove)?)?;
    Ok(host)
}

fn write(stream: i32, text: String) {
    let _ = if stream == 1 {
        std::io::stdout().write_all(text.as_bytes())
    } else {
        std::io::stderr().write_all(text.as_bytes())
    };
}

fn path(ctx: &Ctx<'_>, name: &str) -> rquickjs::Result<PathBuf> {
    let name = name.strip_prefix("./").unwrap_or(name);
    match FileName::new(name) {
        Ok(name) => Ok(name.as_str().into()),
        Err(error) => Err(Exception::throw_message(ctx, &error.to_string())),
    }
}

fn told<T>(ctx: &Ctx<'_>, path: &Path, result: std::io::Result<T>) -> rquickjs::Result<T> {
    result.map_err(|error| Exception::throw_message(ctx, &format!("{}: {error}", path.display())))
}

fn read_text(ctx: Ctx<'_>, name: String) -> rquickjs::Result<String> {
    let path = path(&ctx, &name)?;
    let bytes = told(&ctx, &path, fs::read(&path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_bytes<'js>(ctx: Ctx<'js>, name: String) -> rquickjs::Result<TypedArray<'js, u8>> {
    let path = path(&ctx, &name)?;
    let bytes = told(&ctx, &path, fs::read(&path))?;
    TypedArray::new(ctx, bytes)
}

fn write_text(ctx: Ctx<'_>, name: String, text: String) -> rquickjs::Result<()> {
    save(&ctx, &name, text.as_bytes())
}

fn write_bytes<'js>(
    ctx: Ctx<'js>,
    name: String,
    bytes: TypedArray<'js, u8>,
) -> rquickjs::Result<()> {
    save(&ctx, &name, &bytes_of(&bytes))
}

fn save(ctx: &Ctx<'_>, name: &str, bytes: &[u8]) -> rquickjs::Result<()> {
    let path = path(ctx, name)?;
    let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
    told(ctx, &path, parent.and_then(|()| fs::write(&path, bytes)))
}

fn remove(ctx: Ctx<'_>, name: String) -> rquickjs::Result<()> {
    let path = path(&ctx, &name)?;
    told(&ctx, &path, fs::remove_file(&path))
}

/// Most names that are listed.
const MAX_LISTED: usize = 10_000;

fn list() -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let at = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &folder
        };
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            let path = folder.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(_) if names.len() < MAX_LISTED => names.push(path.display().to_string()),
                _ => {}
            }
        }
    }
    names.sort();
    names
}
