//! The programs that a file carries, and which of them an event means.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::hlo;
use super::line::DecodedLine;
use super::plane::PlaneTables;
use crate::model::{ProgramId, SourceId, Trace};
use crate::quality::{Finding, Severity};
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
            let Ok(index) = u32::try_from(trace.programs.len()) else { break };
            let mut program = module.into_program(&mut trace.strings);
            let module_name = program.name;
            program.id = proto.id;
            program.source = Some(source);
            if !proto.name.is_empty() {
                program.name = proto.name;
            }
            trace.programs.push(program);
            programs.ids.insert((proto.id, module_name), ProgramId(index));
            programs.listed.insert(proto.id, (ProgramId(index), module_name));
        }
        if damaged > 0 {
            trace.findings.push(
                Finding::new(
                    "xplane.damaged_hlo",
                    Severity::Warning,
                    "HLO protos could not be read whole; some operations have no scope",
                )
                .times(damaged),
            );
        }
        programs
    }

    /// The program that an event means. `module` is empty where events do not name it.
    pub(super) fn find(&self, id: i64, module: StrId) -> Option<ProgramId> {
        match module.is_empty() {
            true => self.listed.get(&id).map(|&(program, _)| program),
            false => self.ids.get(&(id, module)).copied(),
        }
    }

    /// Finds the programs that events name by ids which the file does not list.
    ///
    /// JAX's CPU backend numbers a program anew when it is loaded from the compilation cache, so
    /// its events say 168 where the file lists 170, and two modules may have one number. A program
    /// fits if it has the module's name and all of the operations. Ids only grow, so of several
    /// that fit it is the next that no other is joined to.
    pub(super) fn rejoin(
        &mut self,
        planes: &[PlaneTables<'_>],
        lines: &[DecodedLine<'_>],
        trace: &mut Trace,
    ) {
        let (unlisted, mut used) = self.unlisted(planes, lines, trace);
        if unlisted.is_empty() || self.listed.is_empty() {
            return;
        }
        if unlisted.len().saturating_mul(self.listed.len()) > MOST_PAIRS {
            let message = "too many programs are listed under other ids than their events use to \
                           be joined; their operations have no scope: capture for a shorter time";
            let finding = Finding::new("hlo.not_rejoined", Severity::Warning, message);
            trace.findings.push(finding.times(unlisted.len() as u64));
            return;
        }
        let mut joined = 0;
        for ((id, module), ops) in unlisted {
            let fitting = self.fitting(module, &ops, trace);
            let next = fitting.iter().find(|&&listed| listed >= id && !used.contains(&listed));
            let chosen = match (next, fitting.as_slice()) {
                (Some(&next), _) => next,
                (None, &[only]) => only,
                // The module is named otherwise in the file, or not at all.
                _ if self.has_all(id, &ops, trace) => id,
                _ => continue,
            };
            if let Some(&(program, _)) = self.listed.get(&chosen) {
                self.ids.insert((id, module), program);
                used.insert(chosen);
                joined += u64::from(chosen != id);
            }
        }
        if joined > 0 {
            trace.findings.push(
                Finding::new(
                    "hlo.rejoined",
                    Severity::Info,
                    "programs were loaded from a compilation cache and are listed under other ids \
                     than their events use; they were joined by module name, operations and order",
                )
                .times(joined),
            );
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
            for meta in line.metas.iter().filter(|meta| meta.program != 0) {
                let module = line.resolve(meta.module, plane, &mut trace.strings);
                if self.find(meta.program, module).is_some() {
                    used.insert(meta.program);
                    continue;
                }
                let op = line.resolve(meta.op, plane, &mut trace.strings);
                let ops = unlisted.entry((meta.program, module)).or_default();
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
        self.listed.get(&id).is_some_and(|(program, _)| {
            let listed = &trace.programs[program.0 as usize];
            ops.iter().all(|op| listed.by_name.contains_key(op))
        })
    }
}
