//! The house rules that can be read off the files: who imports whom, who knows tower, and how long files are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Rust files below a path, or the file itself.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return if path.extension().is_some_and(|end| end == "rs") { vec![path.to_owned()] } else { vec![] };
    }
    let below = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    below.flat_map(|path| files(&path)).collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The top-level modules of the library, with the text of their files: without comments and without tests.
fn modules() -> BTreeMap<String, Vec<String>> {
    let mut modules: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(src()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if matches!(&*name, "lib" | "bin") {
            continue;
        }
        for file in files(&path) {
            if file.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs"))) {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = text.lines().map(|line| line.split("//").next().unwrap());
            modules.entry(name.clone()).or_default().push(lines.collect::<Vec<_>>().join("\n"));
        }
    }
    modules
}

/// The names directly below `crate::` in a text: of `crate::{a::{B, C}, D}`, `a` and `D`.
fn imports(text: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        found.insert(word(list));
        let mut depth = 1;
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => {
                    found.insert(word(&list[at + 1..]));
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.remove("");
    found
}

/// In which module an item lives that the crate's root gives again.
fn homes() -> BTreeMap<String, String> {
    let root = fs::read_to_string(src().join("lib.rs")).unwrap();
    let mut homes = BTreeMap::new();
    for given in root.split("\npub use ").skip(1).map(|rest| rest.split(';').next().unwrap()) {
        let module = given.split("::").next().unwrap();
        for name in given.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|name| !name.is_empty()) {
            homes.insert(name.to_owned(), module.to_owned());
        }
    }
    homes
}

/// The modules that each one imports.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let (modules, homes) = (modules(), homes());
    let mut uses = BTreeMap::new();
    for (name, texts) in &modules {
        let names: BTreeSet<String> = texts.iter().flat_map(|text| imports(text)).collect();
        let of =
            |import: &String| homes.get(import).filter(|_| !modules.contains_key(import)).unwrap_or(import).clone();
        let used: BTreeSet<String> = names.iter().map(of).collect();
        let used = modules.keys().filter(|other| *other != name && used.contains(*other)).cloned();
        uses.insert(name.clone(), used.collect());
    }
    uses
}

/// The floors, the lowest first.
const FLOORS: [&[&str]; 7] = [
    &["semantics"],
    &[
        "account",
        "clock",
        "credentials",
        "daily",
        "hex",
        "identity",
        "key",
        "outcome",
        "random",
        "request_stats",
        "seldom",
        "sync",
        "tally",
        "timer",
    ],
    &["invalidation"],
    &["config_error", "entry", "policy"],
    &["store"],
    &["cache"],
    &["admin", "bust", "config", "layers", "test_util", "warm"],
];

#[test]
fn modules_look_down() {
    let floor = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    for (name, used) in uses() {
        let own = floor(&name).unwrap_or_else(|| panic!("on which floor does {name} stand?"));
        for other in used {
            assert!(floor(&other).unwrap() <= own, "{name} imports {other}, which stands above it");
        }
    }
}

#[test]
fn modules_import_each_other_in_one_direction() {
    let mut left = uses();
    assert!(left["layers"].contains("cache") && left["admin"].contains("cache"), "imports are found: {left:?}");
    assert!(left["semantics"].is_empty(), "{:?}", left["semantics"]);
    while let Some(lowest) = left.iter().find(|(_, used)| used.is_empty()).map(|(name, _)| name.clone()) {
        left.remove(&lowest);
        for used in left.values_mut() {
            used.remove(&lowest);
        }
    }
    assert!(left.is_empty(), "these import each other, or what does: {left:?}");
}

#[test]
fn tower_is_known_above_the_cache_alone() {
    for (name, texts) in modules() {
        let knows = texts.iter().any(|text| text.contains("tower_service") || text.contains("tower_layer"));
        assert!(!knows || matches!(&*name, "layers" | "warm" | "admin"), "{name} knows tower");
    }
}

#[test]
fn files_are_small() {
    for file in files(&src()) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 530, "{} has {lines} lines: make two of it", file.display());
    }
}
