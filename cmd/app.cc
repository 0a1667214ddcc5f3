#include "cmd/app.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <map>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/base/error.h"
#include "layers/base/suggest.h"
#include "overlay/namespaces.h"

namespace surcoat::cmd {
namespace {

int exit_status(Errc code) {
    switch (code) {
        case Errc::invalid: return 2;
        case Errc::policy: return 3;
        case Errc::not_found: return 4;
        case Errc::conflict: return 5;
        case Errc::no_space: return 6;
        case Errc::interrupted: return 7;
        default: return 1;
    }
}

constexpr const char* kGroups[] = {"Build", "Run", "Look", "Measure", "Move", "System"};

std::string overview(const std::vector<Verb>& verbs, bool all) {
    std::string text = "surcoat - layered copy-on-write root filesystems and images   (no daemon, no root needed)\n\n"
                       "Usage: surcoat [--store DIR] COMMAND [OPTIONS]\n\n";
    for (const char* group : kGroups) {
        if (!all) text += fmt::format("{:<10}", group);
        if (all) text += fmt::format("{}\n", group);
        for (const Verb& verb : verbs) {
            if (verb.group != group) continue;
            text += all ? fmt::format("  {:<10} {}\n", verb.name, verb.summary) : verb.name + " ";
        }
        if (!all) text.back() = '\n';
    }
    text += "\nsurcoat help COMMAND   examples and options       surcoat help -a   every command with one line\n";
    return text;
}

std::string verb_help(const Verb& verb, const std::string& options, const Options& declared) {
    std::string text = fmt::format("{}\n\nUsage: surcoat {}\n", verb.summary, verb.synopsis);
    if (!verb.aliases.empty()) text += fmt::format("Also:  {}\n", fmt::join(verb.aliases, ", "));
    if (!verb.examples.empty()) {
        text += "\nExamples:\n";
        for (const auto& [command, meaning] : verb.examples) text += fmt::format("  {}\n      {}\n", command, meaning);
    }
    if (declared.rest_declared()) text += fmt::format("\n{}: {}\n", declared.rest_declared()->name, declared.rest_declared()->help);
    return text + options;
}

const Verb* find_verb(const std::vector<Verb>& verbs, const std::string& name) {
    for (const Verb& verb : verbs) {
        if (verb.name == name || std::find(verb.aliases.begin(), verb.aliases.end(), name) != verb.aliases.end()) return &verb;
    }
    return nullptr;
}

std::vector<std::string> verb_names(const std::vector<Verb>& verbs) {
    std::vector<std::string> names = {"help"};
    for (const Verb& verb : verbs) {
        names.push_back(verb.name);
        names.insert(names.end(), verb.aliases.begin(), verb.aliases.end());
    }
    return names;
}

/// docker's noun forms, as plain aliases: "image ls" → "images".
void unfold_noun(std::vector<std::string>& words) {
    static const std::map<std::pair<std::string, std::string>, std::string> forms = {
        {{"image", "ls"}, "images"},      {{"image", "list"}, "images"},   {{"image", "rm"}, "rmi"},
        {{"image", "build"}, "build"},    {{"image", "history"}, "history"}, {{"image", "inspect"}, "inspect"},
        {{"image", "save"}, "save"},      {{"image", "load"}, "load"},     {{"image", "tag"}, "tag"},
        {{"image", "import"}, "import"},  {{"container", "ls"}, "ps"},     {{"container", "list"}, "ps"},
        {{"container", "rm"}, "rm"},      {{"container", "run"}, "run"},   {{"container", "create"}, "create"},
        {{"container", "start"}, "start"}, {{"container", "stop"}, "stop"}, {{"container", "kill"}, "kill"},
        {{"container", "wait"}, "wait"},  {{"container", "logs"}, "logs"}, {{"container", "exec"}, "exec"},
        {{"container", "cp"}, "cp"},      {{"container", "diff"}, "diff"}, {{"container", "commit"}, "commit"},
        {{"container", "export"}, "export"}, {{"container", "inspect"}, "inspect"}, {{"container", "rename"}, "rename"},
        {{"system", "df"}, "df"},         {{"system", "prune"}, "gc"},     {{"image", "prune"}, "gc"},
        {{"builder", "prune"}, "gc"},
    };
    if (words.size() < 2) return;
    if (const auto found = forms.find({words[0], words[1]}); found != forms.end()) {
        words.erase(words.begin());
        words[0] = found->second;
    }
}

/// Options that come before the verb.
std::vector<std::string> take_global_options(Settings& settings, int argc, char** argv, bool& version) {
    std::vector<std::string> words;
    int at = 1;
    for (; at < argc; ++at) {
        const std::string word = argv[at];
        const auto value = [&](const char* name) -> std::optional<std::string> {
            const std::string prefix = std::string(name) + "=";
            if (word.starts_with(prefix)) return word.substr(prefix.size());
            if (word != name) return std::nullopt;
            if (at + 1 >= argc) throw Error(Errc::invalid, fmt::format("{} needs a value", name));
            return std::string(argv[++at]);
        };
        if (auto store = value("--store")) {
            settings.store = *store;
        } else if (auto keep = value("--keep-blobs")) {
            settings.keep_blobs = *keep;
        } else if (auto durability = value("--durability")) {
            if (*durability != "full" && *durability != "fast") throw Error(Errc::invalid, fmt::format("--durability is '{}', but must be full or fast", *durability));
            settings.durability = *durability;
        } else if (word == "--version" || word == "-V") {
            version = true;
        } else if (word == "--quiet") {
            settings.quiet = true;
        } else if (word == "--help" || word == "-h") {
            words.emplace_back("help");
        } else if (word.size() > 1 && word[0] == '-') {
            throw Error(Errc::invalid, fmt::format("unknown option '{}'{}", word, did_you_mean(word, {"--store", "--keep-blobs", "--durability", "--version", "--quiet", "--help"})))
                .hint("options of a command come after it; see `surcoat help`");
        } else {
            break;
        }
    }
    for (; at < argc; ++at) words.emplace_back(argv[at]);
    return words;
}

std::vector<std::string> long_options(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::Option* option : app.get_options()) {
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    return names;
}

int perform(const Verb& verb, std::vector<std::string> words, Settings settings) {
    CLI::App app(verb.summary);
    app.set_help_flag();
    bool help = false;
    app.add_flag("--help", help, "show this");
    app.add_option("--store", settings.store, "the store to use")->type_name("DIR");
    app.get_formatter()->column_width(34);
    Options options(&app);
    if (verb.declare) verb.declare(options);
    std::reverse(words.begin(), words.end());  // CLI11 takes them last first
    try {
        app.parse(words);
    } catch (const CLI::ParseError& e) {
        // --help wins over whatever else is missing.
        if (!help) {
            Error error(Errc::invalid, fmt::format("{}: {}", verb.name, e.what()));
            if (const auto* extra = dynamic_cast<const CLI::ExtrasError*>(&e); extra != nullptr) {
                const auto rest = app.remaining();
                const std::string unknown = rest.empty() ? "" : rest.front().substr(0, rest.front().find('='));
                error = Error(Errc::invalid, fmt::format("{}: unexpected '{}'{}", verb.name, unknown, did_you_mean(unknown, long_options(app))));
            }
            throw std::move(error).hint(fmt::format("usage: surcoat {}   (more: surcoat help {})", verb.synopsis, verb.name));
        }
    }
    if (help) {
        print(verb_help(verb, app.help().substr(std::min(app.help().find("\nOptions:"), app.help().size())), options));
        return 0;
    }
    if (options.rest_declared()) {
        std::vector<std::string> rest = app.remaining();
        if (!rest.empty() && rest.front() == "--") rest.erase(rest.begin());
        else if (!rest.empty() && rest.front().size() > 1 && rest.front()[0] == '-') {
            const std::string unknown = rest.front().substr(0, rest.front().find('='));
            throw Error(Errc::invalid, fmt::format("{}: unknown option '{}'{}", verb.name, unknown, did_you_mean(unknown, long_options(app))))
                .hint(fmt::format("usage: surcoat {}   (more: surcoat help {})", verb.synopsis, verb.name));
        }
        *options.rest_declared()->values = std::move(rest);
    }
    if (verb.needs_mounts) overlay::become_namespace_root();
    Program program(std::move(settings));
    const int status = verb.run(program);
    if (std::fflush(stdout) != 0) throw_errno("write to standard output");
    return status;
}

int show_help(const std::vector<Verb>& verbs, const std::vector<std::string>& words) {
    if (words.empty() || words[0] == "-a" || words[0] == "--all") {
        print(overview(verbs, !words.empty()));
        return 0;
    }
    const Verb* verb = find_verb(verbs, words[0]);
    if (verb == nullptr) {
        throw Error(Errc::invalid, fmt::format("there is no command '{}'{}", words[0], did_you_mean(words[0], verb_names(verbs))));
    }
    return perform(*verb, {"--help"}, {});
}

int dispatch(int argc, char** argv) {
    const std::vector<Verb> verbs = all_verbs();
    Settings settings;
    bool version = false;
    std::vector<std::string> words = take_global_options(settings, argc, argv, version);
    if (version) words = {"version"};
    unfold_noun(words);
    if (words.empty()) {
        print(overview(verbs, false));
        return 0;
    }
    const std::string name = words.front();
    words.erase(words.begin());
    if (name == "help") return show_help(verbs, words);
    const Verb* verb = find_verb(verbs, name);
    if (verb == nullptr) {
        static const std::map<std::string, std::string> elsewhere = {
            {"network", "surcoat has no networks of its own: containers use --network host or none"},
            {"volume", "surcoat has no volumes as objects: mount a directory with -v /host/dir:/in/container"},
            {"swarm", "surcoat is no orchestrator: it makes images and root filesystems"},
        };
        Error error(Errc::invalid, fmt::format("there is no command '{}'{}", name, did_you_mean(name, verb_names(verbs))));
        if (const auto found = elsewhere.find(name); found != elsewhere.end()) throw std::move(error).hint(found->second);
        throw std::move(error).hint("see `surcoat help`");
    }
    return perform(*verb, std::move(words), std::move(settings));
}

}  // namespace

int run_program(int argc, char** argv) {
    // Names in archives are bytes; libarchive must not refuse those that are not ASCII.
    std::setlocale(LC_CTYPE, "C.UTF-8");
    std::signal(SIGPIPE, SIG_IGN);
    try {
        return dispatch(argc, argv);
    } catch (const Error& error) {
        print_error(error);
        return exit_status(error.code());
    } catch (const std::exception& error) {
        fmt::print(stderr, "surcoat: internal error: {}\n  hint: this is a fault in surcoat; please report it with the command\n", error.what());
        return 1;
    }
}

}  // namespace surcoat::cmd
