//! The modules of a crate, read from its sources: which file defines what, and which names of other
//! files each file uses.
//!
//! Names are resolved as the compiler does it, as far as that needs no types: through imports,
//! aliases, re-exports, globs and inline modules, to the file that defines the item. A method or a
//! field ties nothing, as its type is not known here. What only tests see is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

use super::rings::Uses;

type ModuleId = usize;

/// Imports that are being followed for a name.
type Seen = BTreeSet<(ModuleId, Vec<String>, String)>;

/// What a name stands for in a module.
#[derive(Debug, Clone)]
enum Meaning {
    Module(ModuleId),
    /// An item that is defined there, and whether a path can go on behind it.
    Item {
        is_type: bool,
    },
    Import(Vec<String>),
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(ModuleId),
    Item { module: ModuleId, name: String, is_type: bool },
}

#[derive(Debug, Default)]
struct Module {
    parent: Option<ModuleId>,
    /// Relative to the folder of the crate's root.
    file: PathBuf,
    names: BTreeMap<String, Vec<Meaning>>,
    globs: Vec<Vec<String>>,
}

/// A crate of which every file has been read.
#[derive(Debug, Default)]
pub(super) struct Crate {
    modules: Vec<Module>,
    /// Paths that modules mention.
    mentions: BTreeSet<(ModuleId, Vec<String>)>,
    /// Modules that define each macro: those are seen without a path.
    macros: BTreeMap<String, ModuleId>,
}

/// Where sources come from: the disk, or a test.
pub(super) trait Sources {
    fn source(&self, file: &Path) -> Option<Result<String>>;
}

/// The files below a folder.
#[derive(Debug)]
pub(super) struct Folder<'a>(pub &'a Path);

impl Sources for Folder<'_> {
    fn source(&self, file: &Path) -> Option<Result<String>> {
        let path = self.0.join(file);
        let read = || fs::read_to_string(&path).with_context(|| path.display().to_string());
        path.is_file().then(read)
    }
}

impl Crate {
    /// Reads the file of a crate's root and all that it declares.
    pub(super) fn read(root: &str, sources: &impl Sources) -> Result<Self> {
        let mut this = Self::default();
        let root = PathBuf::from(root);
        let text =
            sources.source(&root).with_context(|| format!("{} is missing", root.display()))?;
        let mut pending = vec![(this.add(None, root), PathBuf::new(), text?)];
        while let Some((module, folder, text)) = pending.pop() {
            let file = this.modules[module].file.clone();
            let parsed = syn::parse_file(&text).with_context(|| file.display().to_string())?;
            let mut reader = Reader { this: &mut this, at: module, folder, declared: Vec::new() };
            reader.visit_file(&parsed);
            for (module, folder, name) in reader.declared {
                let places = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
                let found = places.iter().find_map(|place| Some((place, sources.source(place)?)));
                let Some((place, text)) = found else {
                    bail!("{}: the file of module {name} is missing", file.display());
                };
                this.modules[module].file = place.clone();
                pending.push((module, folder.join(name), text?));
            }
        }
        Ok(this)
    }

    fn add(&mut self, parent: Option<ModuleId>, file: PathBuf) -> ModuleId {
        self.modules.push(Module { parent, file, ..Module::default() });
        self.modules.len() - 1
    }

    fn define(&mut self, module: ModuleId, name: String, meaning: Meaning) {
        self.modules[module].names.entry(name).or_default().push(meaning);
    }

    /// How many files there are.
    pub(super) fn files(&self) -> usize {
        self.modules.iter().map(|module| &module.file).collect::<BTreeSet<_>>().len()
    }

    /// The files of the modules that one lies in.
    fn around(&self, module: ModuleId) -> impl Iterator<Item = &PathBuf> {
        let parents = std::iter::successors(Some(module), |&it| self.modules[it].parent);
        parents.skip(1).map(|it| &self.modules[it].file)
    }

    /// Which names of which other file each file uses. What the file of a module defines for the
    /// modules within it does not count: those are parts of it.
    pub(super) fn uses(&self) -> Uses {
        let mut uses = Uses::default();
        for (from, path) in &self.mentions {
            for target in self.resolve(*from, path, &mut Seen::new()) {
                let Target::Item { module, name, .. } = target else { continue };
                let [file, to] = [*from, module].map(|module| &self.modules[module].file);
                if file != to && !self.around(*from).any(|outer| outer == to) {
                    uses.add(file, to, name);
                }
            }
        }
        uses
    }

    /// All that a path can mean in a module; nothing if it leads out of the crate.
    fn resolve(&self, from: ModuleId, path: &[String], seen: &mut Seen) -> BTreeSet<Target> {
        let Some((first, rest)) = path.split_first() else { return BTreeSet::new() };
        let mut found = match first.as_str() {
            "crate" | "$crate" => BTreeSet::from([Target::Module(0)]),
            "self" => BTreeSet::from([Target::Module(from)]),
            "super" => self.modules[from].parent.map(Target::Module).into_iter().collect(),
            name => self.look_up(from, name, seen),
        };
        if found.is_empty() && rest.is_empty() {
            let of_macro = self.macros.get(first);
            found.extend(of_macro.map(|&module| Target::Item {
                module,
                name: first.clone(),
                is_type: false,
            }));
        }
        for segment in rest {
            found = found
                .into_iter()
                .flat_map(|target| match (target, segment.as_str()) {
                    (Target::Module(module), "super") => {
                        self.modules[module].parent.map(Target::Module).into_iter().collect()
                    }
                    (Target::Module(module), name) => self.look_up(module, name, seen),
                    // A variant stands where its type stands, and so does what is associated.
                    (item @ Target::Item { is_type: true, .. }, _) => BTreeSet::from([item]),
                    (Target::Item { .. }, _) => BTreeSet::new(),
                })
                .collect();
        }
        found
    }

    fn look_up(&self, module: ModuleId, name: &str, seen: &mut Seen) -> BTreeSet<Target> {
        let here = &self.modules[module];
        let mut found = BTreeSet::new();
        for meaning in here.names.get(name).into_iter().flatten() {
            match meaning {
                &Meaning::Module(module) => drop(found.insert(Target::Module(module))),
                &Meaning::Item { is_type } => {
                    found.insert(Target::Item { module, name: name.to_owned(), is_type });
                }
                Meaning::Import(path) => {
                    found.extend(
                        self.follow(module, path, name, seen, |target, _| BTreeSet::from([target])),
                    );
                }
            }
        }
        if found.is_empty() {
            for glob in &here.globs {
                found.extend(self.follow(module, glob, name, seen, |target, seen| match target {
                    Target::Module(within) => self.look_up(within, name, seen),
                    Target::Item { .. } => BTreeSet::new(),
                }));
            }
        }
        found
    }

    /// What is behind an import, if that is not being asked for already: an import may have the
    /// name that its own path begins with, and modules may import all of each other.
    fn follow(
        &self,
        module: ModuleId,
        path: &[String],
        name: &str,
        seen: &mut Seen,
        behind: impl Fn(Target, &mut Seen) -> BTreeSet<Target>,
    ) -> BTreeSet<Target> {
        let asked = (module, path.to_vec(), name.to_owned());
        if !seen.insert(asked.clone()) {
            return BTreeSet::new();
        }
        let targets = self.resolve(module, path, seen);
        let found = targets.into_iter().flat_map(|target| behind(target, seen)).collect();
        seen.remove(&asked);
        found
    }
}

/// Walks through one file.
struct Reader<'a> {
    this: &'a mut Crate,
    /// The module that is being read, which may be an inline one.
    at: ModuleId,
    /// Where the files of its children are.
    folder: PathBuf,
    /// Modules whose files are still to be read.
    declared: Vec<(ModuleId, PathBuf, String)>,
}

impl Reader<'_> {
    fn mention(&mut self, path: Vec<String>) {
        self.this.mentions.insert((self.at, path));
    }

    fn import(&mut self, tree: &UseTree, mut path: Vec<String>, is_re_export: bool) {
        let mut end = |path: Vec<String>, name: String| {
            if !is_re_export {
                self.mention(path.clone());
            }
            self.this.define(self.at, name, Meaning::Import(path));
        };
        match tree {
            UseTree::Path(it) => {
                path.push(it.ident.to_string());
                self.import(&it.tree, path, is_re_export);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, path.clone(), is_re_export);
                }
            }
            UseTree::Name(it) if it.ident == "self" => {
                let name = path.last().cloned().unwrap_or_default();
                end(path, name);
            }
            UseTree::Name(it) => {
                path.push(it.ident.to_string());
                end(path, it.ident.to_string());
            }
            UseTree::Rename(it) => {
                if it.ident != "self" {
                    path.push(it.ident.to_string());
                }
                end(path, it.rename.to_string());
            }
            UseTree::Glob(_) => self.this.modules[self.at].globs.push(path),
        }
    }

    fn module(&mut self, it: &syn::ItemMod) {
        let name = it.ident.to_string();
        let file = self.this.modules[self.at].file.clone();
        let module = self.this.add(Some(self.at), file);
        self.this.define(self.at, name.clone(), Meaning::Module(module));
        match &it.content {
            None => self.declared.push((module, self.folder.clone(), name)),
            Some((_, items)) => {
                let around = (self.at, self.folder.clone());
                (self.at, self.folder) = (module, self.folder.join(name));
                for item in items {
                    self.visit_item(item);
                }
                (self.at, self.folder) = around;
            }
        }
    }

    /// Paths in what a macro is given, of which nothing else is known.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut colons, mut dots) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                    path.push(ident.to_string());
                }
                token => {
                    // Before one colon stands the name of a field or a variable.
                    if colons != 1 && !path.is_empty() {
                        self.mention(std::mem::take(&mut path));
                    }
                    path.clear();
                    match token {
                        // Behind one dot stands a field or a method.
                        TokenTree::Ident(ident) if dots != 1 => path.push(ident.to_string()),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        TokenTree::Punct(punct) if punct.as_char() == '.' => {
                            (colons, dots) = (0, dots + 1);
                            continue;
                        }
                        _ => {}
                    }
                }
            }
            (colons, dots) = (0, 0);
        }
        if !path.is_empty() {
            self.mention(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_of_tests) {
            return;
        }
        match item {
            Item::Mod(it) => return self.module(it),
            Item::Use(it) => {
                let is_re_export = !matches!(it.vis, Visibility::Inherited);
                return self.import(&it.tree, Vec::new(), is_re_export);
            }
            Item::Macro(it) => {
                if let Some(name) = &it.ident {
                    self.this.macros.insert(name.to_string(), self.at);
                }
            }
            _ => {}
        }
        if let Some((name, is_type)) = name_of(item) {
            self.this.define(self.at, name, Meaning::Item { is_type });
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, it: &'ast syn::ImplItemFn) {
        if !it.attrs.iter().any(is_of_tests) {
            visit::visit_impl_item_fn(self, it);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.mention(path.segments.iter().map(|it| it.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        self.visit_path(&it.path);
        self.tokens(it.tokens.clone());
    }

    /// `serde` and others are told functions by their path, as a text or as it is.
    fn visit_attribute(&mut self, it: &'ast Attribute) {
        let Ok(list) = it.meta.require_list() else { return };
        for token in list.tokens.clone() {
            if let TokenTree::Literal(literal) = token
                && let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                && let Ok(path) = text.parse::<syn::Path>()
            {
                self.visit_path(&path);
            }
        }
        self.tokens(list.tokens.clone());
    }

    /// Says who may see something, and uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

fn is_of_tests(attribute: &Attribute) -> bool {
    if attribute.path().is_ident("test") {
        return true;
    }
    let of_tests = |tokens: &TokenStream| {
        let words = tokens.to_string();
        words == "test" || words.starts_with("all (test") || words.starts_with("all(test")
    };
    attribute.path().is_ident("cfg")
        && attribute.meta.require_list().is_ok_and(|list| of_tests(&list.tokens))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::ExternCrate(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::ForeignMod(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::TraitAlias(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Union(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

/// The name that an item defines, and whether that is a type.
fn name_of(item: &Item) -> Option<(String, bool)> {
    let (ident, is_type) = match item {
        Item::Const(it) => (&it.ident, false),
        Item::Fn(it) => (&it.sig.ident, false),
        Item::Macro(it) => (it.ident.as_ref()?, false),
        Item::Static(it) => (&it.ident, false),
        Item::Enum(it) => (&it.ident, true),
        Item::Struct(it) => (&it.ident, true),
        Item::Trait(it) => (&it.ident, true),
        Item::TraitAlias(it) => (&it.ident, true),
        Item::Type(it) => (&it.ident, true),
        Item::Union(it) => (&it.ident, true),
        _ => return None,
    };
    Some((ident.to_string(), is_type))
}
