#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "layers/recipe/diagnostics.h"
#include "layers/recipe/source.h"

namespace surcoat::recipe {

// A recipe as plain values. Nothing here is expanded: "expanded" below marks the words in which the engine
// replaces variables (expand.h) when it reaches the step; all others are taken as they are.
// Language: the Dockerfile's, https://docs.docker.com/reference/dockerfile/; README.md has its table.

/// The body of a here-document.
struct InlineFile {
    std::string name;         ///< the delimiter without quotes: also the name of the file that COPY makes
    std::string content;      ///< as written; for COPY and ADD, `<<-` has removed the tabs already
    bool expand = true;       ///< false when a part of the delimiter was quoted. COPY and ADD: expanded
    bool strip_tabs = false;  ///< `<<-`
    Span where;               ///< the `<<NAME` word's instruction
};

/// What RUN, CMD and ENTRYPOINT run.
struct CommandLine {
    std::vector<std::string> words;  ///< the JSON form's strings, or the whole text as one (none: no text)
    bool shell = true;               ///< not the JSON form: the stage's SHELL goes in front
    std::vector<InlineFile> files;   ///< here-documents, RUN only; command.h makes the script of it
};

/// `name=value` of ENV and LABEL.
struct Pair {
    Word name;            ///< expanded
    Word value;           ///< expanded
    bool legacy = false;  ///< `ENV name rest of the line`
};

struct Run {
    CommandLine command;               ///< never expanded: the shell does it
    std::vector<Word> mounts;          ///< `--mount` values; mount.h reads and expands them
    std::string network = "default";   ///< default, none, host
    std::string security = "sandbox";  ///< sandbox, insecure
    std::vector<Word> devices;         ///< `--device` values
};

/// What COPY and ADD have in common.
struct Transfer {
    std::vector<Word> sources;      ///< expanded
    std::vector<InlineFile> files;  ///< here-documents among the sources
    Word destination;               ///< expanded
    std::optional<Word> chown;      ///< expanded
    std::optional<Word> chmod;      ///< expanded; mode.h reads it
    bool link = false;
    std::vector<Word> exclude;
};
struct Copy : Transfer {
    std::optional<Word> from;  ///< stage name or number, or image; never expanded
    bool parents = false;
};
struct Add : Transfer {
    std::optional<Word> checksum;  ///< expanded
    std::optional<bool> keep_git_dir;
    std::optional<bool> unpack;
};

struct Env {
    std::vector<Pair> pairs;  ///< all see the values from before the instruction
};
struct Label {
    std::vector<Pair> pairs;
};
struct ArgVariable {
    Word name;
    std::optional<Word> value;  ///< expanded
    std::string description;    ///< from a comment "# <name> text" directly above
};
struct Arg {
    std::vector<ArgVariable> variables;
};
struct Workdir {
    Word path;  ///< expanded
};
struct User {
    Word user;  ///< expanded; `name[:group]` or numbers
};
struct Volume {
    std::vector<Word> paths;  ///< expanded
};
struct Expose {
    std::vector<Word> ports;  ///< expanded (Expansion::words: one may give several), by text; for port.h
};
struct Entrypoint {
    CommandLine command;
};
struct Cmd {
    CommandLine command;
};
struct Shell {
    std::vector<std::string> words;
};
struct Healthcheck {
    std::vector<std::string> test;         ///< {"NONE"}, {"CMD", …} or {"CMD-SHELL", text}
    std::chrono::nanoseconds interval{0};  ///< 0: the runtime's default, as for the others
    std::chrono::nanoseconds timeout{0};
    std::chrono::nanoseconds start_period{0};
    std::chrono::nanoseconds start_interval{0};
    int retries = 0;
};
struct StopSignal {
    Word signal;  ///< expanded
};
struct OnBuild {
    std::string instruction;  ///< the text of the trigger, with its here-documents
    Span where;
};
struct Maintainer {
    std::string author;
};

struct Step {
    Span where;            ///< the whole instruction, here-documents included
    std::string original;  ///< as written, continuation lines joined, without here-documents
    std::variant<Run, Copy, Add, Env, Label, Arg, Workdir, User, Volume, Expose, Entrypoint, Cmd, Shell,
                 Healthcheck, StopSignal, OnBuild, Maintainer>
        what;
};

struct Stage {
    std::string base;      ///< expanded with the global arguments only; an earlier stage's name, or an image
    std::string name;      ///< lower case; empty if it has none. Stage names compare without case
    std::string platform;  ///< expanded like `base`; empty if not given
    std::string description;  ///< from a comment "# <name> text" directly above
    std::vector<Step> steps;
    Position at;  ///< of FROM
    Span base_at;
    Span platform_at;
    Span where;  ///< the whole FROM instruction
    std::string original;
};

/// One variable of an ARG before the first FROM.
using GlobalArg = ArgVariable;

struct Recipe {
    std::string file;    ///< source.name()
    Source source;       ///< for errors that point into it
    char escape = '\\';  ///< for Expander
    std::vector<GlobalArg> args;
    std::vector<Stage> stages;
    std::vector<Diagnostic> warnings;
};

}  // namespace surcoat::recipe
