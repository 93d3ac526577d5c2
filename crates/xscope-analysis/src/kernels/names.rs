//! What a kernel does, by its name.
//!
//! The name of a kernel is the signature of a function. Rules look at the function's own name, as words
//! in lower case, never into its template arguments: those say what it works on. Kernels that run
//! whatever they are given (`elementwise_kernel<4, F>`, `cutlass::Kernel2<T>`) are what their namespaces
//! or else the first of their type arguments that is known are. Of others the namespaces are asked last, the
//! innermost first.

use crate::kernels::rules::{PARTS, RULES, Rule, WRAPPERS};

/// A namespace without a name.
const NAMELESS: &str = "(anonymous namespace)::";

/// How deep wrappers are looked into.
const MAX_WRAPPERS: u32 = 6;

/// The parts of a function's signature that say what it does.
#[derive(Debug, Default)]
struct Signature<'a> {
    /// Namespaces and the function's own name, which is the last.
    path: Vec<&'a str>,
    /// The text of its template arguments.
    arguments: &'a str,
    is_mangled: bool,
}

/// What a name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub category: &'static str,
    /// The part of a model that such work is for.
    pub component: Option<&'static str>,
}

/// What the name of a kernel tells; none if no rule knows it.
pub(crate) fn told_by_name(name: &str) -> Option<Told> {
    let name = name.trim();
    let name = name.strip_suffix(".kd").unwrap_or(name);
    let signature = match name.strip_prefix("_Z") {
        Some(mangled) => of_mangled(mangled),
        None => of_demangled(name),
    };
    told(&signature, MAX_WRAPPERS)
}

/// The part of a model that all work of a category is for.
pub(crate) fn part_of(category: &str) -> Option<&'static str> {
    PARTS.iter().find(|(name, _)| *name == category).map(|&(_, part)| part)
}

fn told(signature: &Signature<'_>, depth: u32) -> Option<Told> {
    let (own, namespaces) = signature.path.split_last()?;
    let own = words(own);
    let own_rule = || first_rule(&own);
    let mut of_namespaces = namespaces.iter().rev().filter_map(|name| first_rule(&words(name)));
    let found = match depth > 0 && is_wrapper(&own) {
        true => {
            let wrapped = || types(signature).iter().find_map(|inner| told(inner, depth - 1));
            of_namespaces.next().or_else(wrapped).or_else(own_rule)
        }
        false => {
            let found = own_rule().or_else(|| of_namespaces.next())?;
            let component = || of_namespaces.find_map(|outer| outer.component);
            Some(Told { component: found.component.or_else(component), ..found })
        }
    };
    found.filter(|found| !found.category.is_empty())
}

fn is_wrapper(words: &str) -> bool {
    WRAPPERS.iter().any(|wrapper| match wrapper.strip_suffix('*') {
        Some(beginning) => words.starts_with(beginning),
        None => words == *wrapper,
    })
}

fn first_rule(words: &str) -> Option<Told> {
    let Rule { category, component, .. } =
        RULES.iter().find(|rule| matches(rule.pattern, words))?;
    Some(Told { category, component: component.or_else(|| part_of(category)) })
}

/// Whether the parts of a pattern, which `*` separates, are in `words` one after the other.
fn matches(pattern: &str, words: &str) -> bool {
    let (pattern, is_anchored) = match pattern.strip_prefix('^') {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let mut rest = words;
    let mut parts = pattern.split('*').enumerate();
    parts.all(|(index, part)| match rest.find(part) {
        Some(at) if at == 0 || index > 0 || !is_anchored => {
            // The underscore at the end of one part may begin the next.
            rest = &rest[at + part.trim_end_matches('_').len()..];
            true
        }
        _ => false,
    })
}

/// A name as words in lower case, each between underscores: `fusedAddRMSNorm` is `_fused_add_rms_norm_`.
fn words(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut words = String::with_capacity(name.len() + 8);
    words.push('_');
    for (at, &byte) in bytes.iter().enumerate() {
        let before = at.checked_sub(1).map_or(b'_', |before| bytes[before]);
        let after = bytes.get(at + 1).copied().unwrap_or(b'_');
        let begins = byte.is_ascii_uppercase()
            && (!before.is_ascii_uppercase() || after.is_ascii_lowercase());
        if (begins || !byte.is_ascii_alphanumeric()) && !words.ends_with('_') {
            words.push('_');
        }
        if byte.is_ascii_alphanumeric() {
            words.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    if !words.ends_with('_') {
        words.push('_');
    }
    words
}

/// The template arguments that are types with names.
fn types<'a>(signature: &Signature<'a>) -> Vec<Signature<'a>> {
    if signature.is_mangled {
        return first_mangled_type(signature.arguments).into_iter().collect();
    }
    let mut types = Vec::new();
    let mut arguments = signature.arguments;
    while !arguments.is_empty() {
        let end = outside(arguments, |byte| byte == b',').unwrap_or(arguments.len());
        let argument = arguments[..end].trim();
        let argument = argument.strip_prefix("const ").unwrap_or(argument);
        if argument.starts_with(|first: char| first.is_alphabetic() || "_(".contains(first)) {
            types.push(of_demangled(argument));
        }
        arguments = arguments.get(end + 1..).unwrap_or_default();
    }
    types
}

/// Where the first byte that `wanted` accepts lies outside of all brackets.
fn outside(text: &str, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, byte) in text.bytes().enumerate() {
        if depth == 0 && wanted(byte) {
            return Some(at);
        }
        match byte {
            b'<' | b'(' | b'{' | b'[' => depth += 1,
            b'>' | b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// `void a::b<T>::f<U>(V)`: the path is `a`, `b`, `f`, the arguments are `U`.
fn of_demangled(name: &str) -> Signature<'_> {
    let mut head = without_result(name);
    let mut signature = Signature::default();
    while !head.is_empty() {
        if let Some(rest) = head.strip_prefix(NAMELESS) {
            head = rest;
            continue;
        }
        let end = head.find([':', '<', '(', '{']).unwrap_or(head.len());
        let (own, rest) = head.split_at(end);
        if !own.trim().is_empty() {
            signature.path.push(own.trim());
            signature.arguments = "";
        }
        if let Some(arguments) = rest.strip_prefix('<') {
            let close = outside(arguments, |byte| byte == b'>').unwrap_or(arguments.len());
            signature.arguments = &arguments[..close];
            head = arguments.get(close + 1..).unwrap_or_default();
        } else if let Some(next) = rest.strip_prefix("::") {
            head = next;
        } else {
            break;
        }
    }
    signature
}

/// A signature without the type of the function's result. Names with spaces that are no signatures
/// (`Memcpy DtoH (Device -> Pinned)`) are left as they are.
fn without_result(name: &str) -> &str {
    let mut rest = name;
    while let Some(space) = outside(rest, |byte| byte == b' ') {
        let result = &rest[..space];
        let is_type = result == "void" || result == "const" || result.contains("::");
        // Behind the first parameter list nothing is the result's.
        let has_parameters = outside(&result.replace(NAMELESS, ""), |byte| byte == b'(').is_some();
        if !is_type || has_parameters {
            break;
        }
        rest = rest[space..].trim_start();
    }
    rest
}

/// A mangled name (`N5aiter7rmsnormIfEE...`) as far as it has names.
fn of_mangled(name: &str) -> Signature<'_> {
    let mut signature = Signature { is_mangled: true, ..Signature::default() };
    let mut rest = name;
    loop {
        rest = rest.trim_start_matches(['N', 'K', 'L']);
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if let Some(length) = rest[..digits].parse::<usize>().ok().filter(|_| digits > 0) {
            let Some(own) = rest[digits..].get(..length) else { break };
            if !own.starts_with("_GLOBAL__N") {
                signature.path.push(own);
            }
            rest = &rest[digits + length..];
        } else if let Some(known) = rest.strip_prefix('S') {
            let end = known.find('_').map_or(known.len().min(1), |end| end + 1);
            rest = known.get(end..).unwrap_or_default();
        } else {
            signature.arguments = rest.strip_prefix('I').unwrap_or_default();
            break;
        }
    }
    signature
}

fn first_mangled_type(arguments: &str) -> Option<Signature<'_>> {
    let mut rest = arguments;
    // Literals (`Li2E`) and types of one letter.
    while let Some(literal) = rest.strip_prefix('L') {
        rest = literal.split_once('E')?.1;
    }
    let rest = rest.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
    let signature = of_mangled(rest);
    (!signature.path.is_empty()).then_some(signature)
}

#[cfg(test)]
mod tests {
    use super::{of_demangled, of_mangled, types, words};

    #[test]
    fn words_of_names() {
        for (name, expected) in [
            ("fusedAddRMSNormKernel", "_fused_add_rms_norm_kernel_"),
            ("ncclDevKernel_AllReduce_Sum", "_nccl_dev_kernel_all_reduce_sum_"),
            ("__amd_rocclr_copyBuffer", "_amd_rocclr_copy_buffer_"),
            ("Im2d2Col_v2", "_im2d2_col_v2_"),
            ("__cublas$gemm", "_cublas_gemm_"),
            ("", "_"),
        ] {
            assert_eq!(words(name), expected, "{name}");
        }
    }

    #[test]
    fn own_names_of_signatures() {
        for (name, path, arguments) in [
            ("void (anonymous namespace)::f<int, 4>(int)", "f", "int, 4"),
            (
                "std::enable_if<(((8)>(0)))&&a::B<c>::d, void>::type v::norm<T, 8>(T*)",
                "v::norm",
                "T, 8",
            ),
            (
                "void at::native::k<128, F(int&)::{lambda()#3}::operator()() const>(int)",
                "at::native::k",
                "128, F(int&)::{lambda()#3}::operator()() const",
            ),
            (
                "direct_copy(at::T&)::{lambda()#3}::operator()() const::{lambda(c)#1}",
                "direct_copy",
                "",
            ),
            (
                "flash_fwd_kernel<Flash_fwd_kernel_trai...",
                "flash_fwd_kernel",
                "Flash_fwd_kernel_trai...",
            ),
            (
                "at::(anonymous namespace)::f(T&)::{lambda()#1}::operator()() const::{lambda()#2}",
                "at::f",
                "",
            ),
            ("Memcpy DtoH (Device -> Pinned)", "Memcpy DtoH", ""),
            ("triton_poi_fused_add_0", "triton_poi_fused_add_0", ""),
        ] {
            let signature = of_demangled(name);
            assert_eq!(
                (signature.path.join("::").as_str(), signature.arguments),
                (path, arguments)
            );
        }
        let wrapped = of_demangled("cutlass::Kernel2<2, true, a::gemm<B> >");
        assert_eq!(types(&wrapped).pop().unwrap().path, ["a", "gemm"]);
    }

    #[test]
    fn own_names_of_mangled_signatures() {
        let kentry = of_mangled("N7ck_tile6kentryILi2ENS_10FmhaKernelINS_4FooEEEEEvT0_");
        assert_eq!(kentry.path, ["ck_tile", "kentry"]);
        assert_eq!(types(&kentry)[0].path, ["FmhaKernel"]);
        assert_eq!(of_mangled("9rmsnorm_1IfEvPf").path, ["rmsnorm_1"]);
        assert!(of_mangled("N99x").path.is_empty());
        assert!(of_mangled("18446744073709551615x").path.is_empty());
    }
}
