//! `--help` of every command, as its users read it.

use clap::{Command, CommandFactory as _};

use super::Cli;

/// Calls `see` with each command that help shows, and its name.
fn visit(command: &Command, name: &str, see: &mut impl FnMut(&str, &Command)) {
    see(name, command);
    let shown = command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help");
    for command in shown {
        visit(command, &format!("{name}-{}", command.get_name()), see);
    }
}

#[test]
fn help_says_what_it_said() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    let mut root = Cli::command();
    root.build();
    visit(&root, "xscope", &mut |name, command| {
        let help = command.clone().term_width(100).render_long_help().to_string();
        insta::assert_snapshot!(name, help);
    });
}

#[test]
fn each_option_says_what_it_is() {
    let mut root = Cli::command();
    root.build();
    visit(&root, "xscope", &mut |name, command| {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            assert!(arg.get_help().is_some(), "{name} {} says nothing", arg.get_id());
        }
    });
}
