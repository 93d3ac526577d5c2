//! Who may use whom: crates by the table of ARCHITECTURE.md, and within each crate its folders and
//! files, which form graphs without rings.

mod crates;
mod modules;
mod rings;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::modules::{Crate, Folder};
use self::rings::Uses;
use crate::metadata::{Metadata, Package};

/// Folders whose files use none of each other: what several need stands elsewhere. `mod.rs` lists them.
const APART: [(&str, &str); 1] = [("xscope", "cmd")];

/// Checks the workspace.
pub(crate) fn check() -> Result<String> {
    let metadata = Metadata::read()?;
    let mut problems: Vec<String> = crates::problems(&metadata);
    let mut files = 0;
    for package in &metadata.packages {
        for root in roots(package) {
            let folder = root.parent().context("a source has no folder")?;
            let name = root.file_name().context("a source has no name")?.to_string_lossy();
            let read = Crate::read(&name, &Folder(folder));
            let read = read.with_context(|| format!("cannot read the crate {}", package.name))?;
            files += read.files();
            let uses = read.uses();
            let apart = APART.iter().filter(|(name, _)| *name == package.name);
            let borrowed = apart.flat_map(|(_, folder)| borrowed(&uses, folder));
            let found = rings(&uses).into_iter().chain(borrowed);
            problems.extend(found.map(|problem| format!("{}: {problem}", package.name)));
        }
    }
    if !problems.is_empty() {
        bail!("layers (see ARCHITECTURE.md):\n  {}", problems.join("\n  "));
    }
    let crates = metadata.packages.len();
    Ok(format!("layers: {crates} crates use only what they may; {files} files without a ring"))
}

/// The root files of what a package ships.
fn roots(package: &Package) -> impl Iterator<Item = &Path> {
    let is_shipped = |kind: &String| ["lib", "bin", "proc-macro"].contains(&kind.as_str());
    let shipped = package.targets.iter().filter(move |it| it.kind.iter().any(is_shipped));
    shipped.map(|target| target.src_path.as_path())
}

/// Each ring of files and of folders of a crate, with what ties it.
fn rings(files: &Uses) -> Vec<String> {
    let of_files = files.rings();
    let folders = files.of_folders();
    let is_more = |ring: &BTreeSet<PathBuf>| {
        // Files beside the root that form a ring are told of as files.
        let as_files: BTreeSet<_> = ring.iter().map(|it| it.with_extension("rs")).collect();
        !of_files.contains(&as_files)
    };
    let of_folders = folders.rings().into_iter().filter(is_more);
    let told = |of: &str, uses: &Uses, ring: &BTreeSet<PathBuf>| {
        let names: Vec<String> = ring.iter().map(|path| path.display().to_string()).collect();
        format!("a ring of {of}: {}{}", names.join(", "), uses.told(ring))
    };
    let of_folders: Vec<_> = of_folders.map(|ring| told("folders", &folders, &ring)).collect();
    of_files.iter().map(|ring| told("files", files, ring)).chain(of_folders).collect()
}

/// What the files of a folder use of each other.
fn borrowed(files: &Uses, folder: &str) -> Vec<String> {
    let is_one = |file: &Path| file.starts_with(folder) && !file.ends_with("mod.rs");
    let lines = files.lines_between(is_one).into_iter();
    lines.map(|line| format!("files of {folder}/ use each other: {line}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use anyhow::Result;

    use super::modules::{Crate, Sources};
    use super::{borrowed, rings};

    struct Texts(BTreeMap<&'static str, &'static str>);

    impl Sources for Texts {
        fn source(&self, file: &Path) -> Option<Result<String>> {
            self.0.get(file.to_str().unwrap()).map(|&text| Ok(text.to_owned()))
        }
    }

    fn read(files: &[(&'static str, &'static str)]) -> Crate {
        Crate::read("lib.rs", &Texts(files.iter().copied().collect())).unwrap()
    }

    /// What each file uses of each other one.
    fn check(files: &[(&'static str, &'static str)], expected: &[&str]) {
        assert_eq!(read(files).uses().lines(), expected, "{files:?}");
    }

    #[test]
    fn imports_and_paths_lead_to_the_file_that_defines() {
        let root = ("lib.rs", "mod a; mod b;");
        let b = ("b.rs", "pub struct B; pub fn f() {} pub enum E { One } pub const C: u8 = 1;");
        for (a, expected) in [
            ("use crate::b::B;", "a.rs -> b.rs: B"),
            ("use crate::b::{self, B as Other}; fn g() { b::f(); }", "a.rs -> b.rs: B, f"),
            ("use super::b; fn g(x: b::E) { matches!(x, b::E::One) }", "a.rs -> b.rs: E"),
            ("fn g() -> u8 { super::b::C }", "a.rs -> b.rs: C"),
            ("use super::b::*; impl B {}", "a.rs -> b.rs: B"),
            ("fn g() { use crate::b::f; f() }", "a.rs -> b.rs: f"),
            ("fn g() { println!(\"{}\", crate::b::C) }", "a.rs -> b.rs: C"),
            ("fn g() { vec![x.f(), y::B, { use crate::b::f as h; 1 }] }", "a.rs -> b.rs: f"),
            ("#[serde(default = \"crate::b::f\")] struct A;", "a.rs -> b.rs: f"),
            ("trait T { fn g(&self) -> Vec<super::b::B>; }", "a.rs -> b.rs: B"),
        ] {
            check(&[root, ("a.rs", a), b], &[expected]);
        }
    }

    #[test]
    fn what_uses_nothing_of_another_file_ties_nothing() {
        let root = ("lib.rs", "mod a; mod b; pub use a::A;");
        let b = ("b.rs", "pub struct B; pub fn f() {}");
        for a in [
            "pub struct A;",
            "use std::fmt; pub struct A { b: fmt::Result }",
            "use crate::b; pub struct A;",
            "pub(in crate::b) struct A;",
            "#[cfg(test)] mod tests { use crate::b::B; } pub struct A;",
            "#[cfg(test)] use crate::b::B; pub struct A;",
            "impl A { #[cfg(test)] fn g() { crate::b::f() } } pub struct A;",
            "#[cfg(all(test, unix))] fn g() { crate::b::f() } pub struct A;",
            "pub use crate::b::B; pub struct A;",
            "fn g(x: Other) { x.f(); assert!(x.f()); }",
        ] {
            check(&[root, ("a.rs", a), b], &[]);
        }
    }

    #[test]
    fn re_exports_are_followed() {
        let root = ("lib.rs", "mod a; mod deep; pub use deep::inner as alias; use alias::Thing;");
        let deep = ("deep/mod.rs", "pub mod inner; pub use self::inner::*;");
        let inner = ("deep/inner.rs", "pub struct Thing;");
        for a in ["use crate::alias::Thing;", "use crate::deep::Thing as T;", "use crate::Thing;"] {
            let expected = ["a.rs -> deep/inner.rs: Thing", "lib.rs -> deep/inner.rs: Thing"];
            check(&[root, ("a.rs", a), deep, inner], &expected);
        }
    }

    #[test]
    fn a_module_and_a_function_may_have_one_name() {
        let root = ("lib.rs", "mod a; mod load; pub use load::load;");
        let load = ("load.rs", "pub fn load() {} pub struct Options;");
        check(&[root, ("a.rs", "use crate::load::Options;"), load], &["a.rs -> load.rs: Options"]);
        check(&[root, ("a.rs", "use crate::load;"), load], &["a.rs -> load.rs: load"]);
    }

    #[test]
    fn modules_that_import_all_of_each_other_are_no_endless_road() {
        let root = ("lib.rs", "mod a; mod b;");
        let a = ("a.rs", "pub use crate::b::*; pub struct A; fn f(x: Other) {}");
        let b = ("b.rs", "pub use crate::a::*; pub struct B; fn f(x: A) {}");
        check(&[root, a, b], &["b.rs -> a.rs: A"]);
    }

    #[test]
    fn nested_modules_and_macros_are_found() {
        let root =
            ("lib.rs", "#[macro_use] mod m; mod a { pub mod b; pub mod c { pub struct C; } }");
        let m = ("m.rs", "macro_rules! m { () => {} }");
        let b = ("a/b.rs", "mod d; use super::c::C; fn f() { m!() } fn g(c: d::D) {}");
        let d = ("a/b/d.rs", "pub struct D; fn f(c: super::super::super::m::None) {}");
        // What lies around a module is no other file to it.
        check(&[root, m, b, d], &["a/b.rs -> a/b/d.rs: D", "a/b.rs -> m.rs: m"]);
    }

    #[test]
    fn rings_of_files_and_of_folders_are_told() {
        let told = |files: &[(&'static str, &'static str)]| rings(&read(files).uses());
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "pub struct A; use crate::b::B;"),
            ("b.rs", "pub struct B; use crate::c::C;"),
            ("c.rs", "pub struct C; use crate::a::A;"),
        ];
        assert_eq!(
            told(&files[..]),
            ["a ring of files: a.rs, b.rs, c.rs\n    a.rs -> b.rs: B\n    b.rs -> c.rs: C\n    \
             c.rs -> a.rs: A"]
        );
        let folders = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod up; pub mod down;"),
            ("a/up.rs", "use crate::b::B;"),
            ("a/down.rs", "pub struct Down;"),
            ("b.rs", "pub struct B; use crate::a::down::Down;"),
        ];
        assert_eq!(
            told(&folders[..]),
            ["a ring of folders: a, b\n    a -> b: B\n    b -> a: Down"]
        );
    }

    #[test]
    fn files_of_a_folder_that_stand_apart_use_none_of_each_other() {
        let read = |a: &'static str| {
            read(&[
                ("lib.rs", "mod cmd; mod parts;"),
                ("cmd/mod.rs", "mod a; mod b; pub fn run() { a::f(); b::f(); }"),
                ("cmd/a.rs", a),
                ("cmd/b.rs", "pub fn f() { crate::parts::g() }"),
                ("parts.rs", "pub fn g() {}"),
            ])
        };
        assert!(borrowed(&read("pub fn f() { crate::parts::g() }").uses(), "cmd").is_empty());
        assert_eq!(
            borrowed(&read("pub fn f() { super::b::f() }").uses(), "cmd"),
            ["files of cmd/ use each other: cmd/a.rs -> cmd/b.rs: f"]
        );
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let error = Crate::read("lib.rs", &Texts([("lib.rs", "mod a;")].into())).unwrap_err();
        assert!(error.to_string().contains("module a is missing"), "{error}");
    }
}
