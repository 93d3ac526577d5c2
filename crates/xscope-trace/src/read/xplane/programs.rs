//! The programs that a file carries, and which of them an event means.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::hlo;
use super::line::DecodedLine;
use super::plane::PlaneTables;
use crate::model::{Program, ProgramId, SourceId, Trace, TrackKind};
use crate::naming::{number_in, track_kind};
use crate::quality::{Code, Finding};
use crate::strings::StrId;

/// How many pairs of a listed and an unlisted program are compared: two thousand of each.
const MOST_PAIRS: usize = 1 << 22;

/// Programs by what events call them.
pub(super) struct Programs {
    /// By the id and the module that events name.
    ids: FxHashMap<(i64, StrId), ProgramId>,
    /// By the ids that the file gives them, with the module name of each.
    listed: BTreeMap<i64, (ProgramId, StrId)>,
}

/// The operations of programs that events name, by id and module.
type Named = BTreeMap<(i64, StrId), BTreeSet<StrId>>;

impl Programs {
    /// Decodes the programs of all planes into `trace`.
    pub(super) fn read(source: SourceId, planes: &[PlaneTables<'_>], trace: &mut Trace) -> Self {
        let protos: Vec<_> = planes.iter().flat_map(|plane| &plane.programs).collect();
        let decoded: Vec<_> = protos.par_iter().map(|proto| hlo::decode(proto.hlo)).collect();
        let mut programs = Self { ids: FxHashMap::default(), listed: BTreeMap::new() };
        let mut damaged = 0;
        for (proto, module) in protos.iter().zip(decoded) {
            damaged += u64::from(module.damaged);
            let mut program = module.into_program(&mut trace.strings);
            let module_name = program.name;
            program.id = proto.id;
            program.source = Some(source);
            if !proto.name.is_empty() {
                program.name = proto.name;
            }
            let id = trace.programs.push(program);
            programs.ids.insert((proto.id, module_name), id);
            programs.listed.insert(proto.id, (id, module_name));
        }
        if damaged > 0 {
            trace.findings.push(
                Finding::new(
                    Code::XplaneDamagedHlo,
                    "HLO protos could not be read whole; some operations have no scope",
                )
                .times(damaged),
            );
        }
        programs
    }

    /// The program that an event means. `module` is empty where events do not name it.
    pub(super) fn find(&self, id: i64, module: StrId) -> Option<ProgramId> {
        let known = self.ids.get(&(id, module)).copied();
        known.or_else(|| {
            let listed = self.listed.get(&id).filter(|_| module.is_empty())?;
            Some(listed.0)
        })
    }

    /// Finds the programs that events name by ids which the file does not list.
    ///
    /// JAX's CPU backend numbers a program anew when it is loaded from the compilation cache, so
    /// its events say 168 where the file lists 170, and two modules may have one number. A program
    /// fits if it has the module's name and all of the operations. Ids only grow, so of several
    /// that fit it is the next that no other is joined to; where there is none, the nearest one, if
    /// all of them are variants of one program (for other shapes), which have the same scopes.
    /// What is not found becomes a program of which nothing but the name is known, from the module
    /// that its events name or from the device's line of modules.
    pub(super) fn rejoin(
        &mut self,
        source: SourceId,
        planes: &[PlaneTables<'_>],
        lines: &[DecodedLine<'_>],
        trace: &mut Trace,
    ) {
        let (unlisted, mut used) = self.unlisted(planes, lines, trace);
        let too_many = unlisted.len().saturating_mul(self.listed.len()) > MOST_PAIRS;
        if too_many {
            let message = "too many programs are listed under other ids than their events use to \
                           be joined; their operations have no scope: capture for a shorter time";
            let finding = Finding::new(Code::HloNotRejoined, message);
            trace.findings.push(finding.times(unlisted.len() as u64));
        }
        let modules = modules(planes, lines, trace);
        let (mut joined, mut guessed) = (0, 0);
        for ((id, module), ops) in unlisted {
            let fit = (!too_many).then(|| self.fit((id, module), &ops, &used, trace)).flatten();
            let found = fit.and_then(|fit| Some((self.listed.get(&fit.id)?.0, fit)));
            if let Some((program, fit)) = found {
                self.ids.insert((id, module), program);
                used.insert(fit.id);
                joined += u64::from(fit.id != id);
                guessed += u64::from(fit.is_guess);
                continue;
            }
            let name = match module.is_empty() {
                true => modules.get(&id).copied(),
                false => {
                    let name = format!("{}({id})", trace.strings.get(module));
                    Some(trace.strings.intern(&name))
                }
            };
            if let Some(name) = name {
                let unlisted = Program { name, id, source: Some(source), ..Program::default() };
                self.ids.insert((id, module), trace.programs.push(unlisted));
            }
        }
        report_joined(joined, guessed, trace);
    }

    /// The listed program that an unlisted one is, if that can be told.
    fn fit(
        &self,
        (id, module): (i64, StrId),
        ops: &BTreeSet<StrId>,
        used: &BTreeSet<i64>,
        trace: &Trace,
    ) -> Option<Fit> {
        let fitting = self.fitting(module, ops, trace);
        let sure = |id| Some(Fit { id, is_guess: false });
        match (fitting.iter().find(|&&listed| listed >= id && !used.contains(&listed)), &*fitting) {
            (Some(&next), _) => sure(next),
            (None, &[only]) => sure(only),
            // The module is named otherwise in the file, or not at all.
            (None, []) => self.has_all(id, ops, trace).then_some(Fit { id, is_guess: false }),
            (None, &[first, ..]) => {
                let nearest = fitting.iter().rev().find(|&&listed| listed < id);
                let nearest = nearest.copied().unwrap_or(first);
                let others = || fitting.iter().map(|&other| self.alike(nearest, other, ops, trace));
                let same_scopes = others().all(|alike| alike >= Alike::Scopes);
                let is_guess = !others().all(|alike| alike == Alike::Shapes);
                same_scopes.then_some(Fit { id: nearest, is_guess })
            }
        }
    }

    /// The programs that events name and the file does not list, and the ids of those it does.
    fn unlisted(
        &self,
        planes: &[PlaneTables<'_>],
        lines: &[DecodedLine<'_>],
        trace: &mut Trace,
    ) -> (Named, BTreeSet<i64>) {
        let mut unlisted = Named::new();
        let mut used = BTreeSet::new();
        for line in lines {
            let plane = &planes[line.plane];
            for meta in &line.metas {
                let program = plane.program_of(*meta);
                if program == 0 {
                    continue;
                }
                let module = line.resolve(meta.module, plane, &mut trace.strings);
                if self.find(program, module).is_some() {
                    used.insert(program);
                    continue;
                }
                let op = line.resolve(meta.op, plane, &mut trace.strings);
                let ops = unlisted.entry((program, module)).or_default();
                ops.extend(Some(op).filter(|op| !op.is_empty()));
            }
        }
        (unlisted, used)
    }

    /// The listed programs that have a module's name and all of these operations, by id.
    fn fitting(&self, module: StrId, ops: &BTreeSet<StrId>, trace: &Trace) -> Vec<i64> {
        let named = self.listed.iter().filter(|(_, (_, name))| *name == module);
        named.map(|(&id, _)| id).filter(|&id| self.has_all(id, ops, trace)).collect()
    }

    /// Whether the program listed as `id` has all of these operations.
    fn has_all(&self, id: i64, ops: &BTreeSet<StrId>, trace: &Trace) -> bool {
        self.listed.get(&id).is_some_and(|&(program, _)| {
            let listed = &trace.programs[program];
            ops.iter().all(|op| listed.by_name.contains_key(op))
        })
    }

    /// What two listed programs have in common in these operations.
    fn alike(&self, a: i64, b: i64, ops: &BTreeSet<StrId>, trace: &Trace) -> Alike {
        let program = |id: i64| self.listed.get(&id).map(|&(program, _)| &trace.programs[program]);
        let (Some(a), Some(b)) = (program(a), program(b)) else { return Alike::Nothing };
        let of_op = |op: &StrId| match a.instruction(*op).zip(b.instruction(*op)) {
            Some((a, b)) if (a.opcode, a.op_name) != (b.opcode, b.op_name) => Alike::Nothing,
            Some((a, b)) if (a.result_bytes, a.flops) == (b.result_bytes, b.flops) => Alike::Shapes,
            Some(_) => Alike::Scopes,
            None => Alike::Nothing,
        };
        ops.iter().map(of_op).min().unwrap_or(Alike::Nothing)
    }
}

/// A listed program that an unlisted one is taken for.
struct Fit {
    id: i64,
    /// Whether it may also be one for other shapes.
    is_guess: bool,
}

/// What operations of two programs have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alike {
    Nothing,
    Scopes,
    /// Scopes and shapes.
    Shapes,
}

/// The names on the devices' lines of modules, `jit_f(42)`, by the number in them.
fn modules(
    planes: &[PlaneTables<'_>],
    lines: &[DecodedLine<'_>],
    trace: &Trace,
) -> FxHashMap<i64, StrId> {
    let of_line = |line: &DecodedLine<'_>| {
        let plane = &planes[line.plane];
        let name = String::from_utf8_lossy(line.name);
        let is_modules = track_kind(plane.kind, false, &name) == TrackKind::Modules;
        let metas = line.metas.iter().filter(move |_| is_modules);
        let names = metas.filter_map(|meta| Some(plane.events.get(&meta.event)?.meta.name));
        names.collect::<Vec<StrId>>()
    };
    let names = lines.iter().flat_map(of_line);
    names.filter_map(|name| Some((number_in(trace.strings.get(name))?, name))).collect()
}

fn report_joined(joined: u64, guessed: u64, trace: &mut Trace) {
    if joined > 0 {
        trace.findings.push(
            Finding::new(
                Code::HloRejoined,
                "programs were loaded from a compilation cache and are listed under other ids \
                 than their events use; they were joined by module name, operations and order",
            )
            .times(joined),
        );
    }
    if guessed > 0 {
        trace.findings.push(
            Finding::new(
                Code::HloVariants,
                "several programs with the same operations and scopes, for other shapes, fit a \
                 program that ran: its costs are those of the one with the nearest id; capture \
                 without the compilation cache for the right ones",
            )
            .times(guessed),
        );
    }
}
