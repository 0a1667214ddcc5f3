#include "layers/build/stage_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <ctime>
#include <iterator>

#include "layers/base/file.h"
#include "layers/base/signal.h"
#include "layers/build/copy.h"
#include "layers/recipe/command.h"
#include "layers/recipe/path.h"
#include "layers/recipe/port.h"

namespace surcoat::build {
namespace {

constexpr const char* kDefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

constexpr const char* kProxyVariables[][2] = {{"http_proxy", "HTTP_PROXY"},
                                              {"https_proxy", "HTTPS_PROXY"},
                                              {"ftp_proxy", "FTP_PROXY"},
                                              {"no_proxy", "NO_PROXY"},
                                              {"all_proxy", "ALL_PROXY"}};

std::vector<std::string> shell_of(const ImageConfig& config) {
    return config.shell.value_or(std::vector<std::string>{"/bin/sh", "-c"});
}

std::string one_line(std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

void sort_unique(std::vector<std::string>& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
}

/// At most 120 bytes of it, cut between characters.
std::string shortened(const std::string& text) {
    std::size_t size = std::min<std::size_t>(text.size(), 120);
    while (size > 0 && size < text.size() && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
    return size < text.size() ? text.substr(0, size) + "…" : text;
}

void set_variable(std::vector<std::string>& env, const std::string& name, const std::string& value) {
    const std::string prefix = name + "=";
    for (std::string& item : env) {
        if (!item.starts_with(prefix)) continue;
        item = prefix + value;
        return;
    }
    env.push_back(prefix + value);
}

/// In both spellings, whichever was given; what the image or an ARG says goes first.
void add_proxies(std::vector<std::string>& env, const std::map<std::string, std::string>& build_args) {
    for (const auto& spellings : kProxyVariables) {
        auto given = build_args.find(spellings[0]);
        if (given == build_args.end()) given = build_args.find(spellings[1]);
        if (given == build_args.end()) continue;
        for (const char* name : spellings) {
            const std::string prefix = std::string(name) + "=";
            const bool known = std::any_of(env.begin(), env.end(),
                                           [&](const std::string& item) { return item.starts_with(prefix); });
            if (!known) env.push_back(prefix + given->second);
        }
    }
}

Json numbers(const std::pair<std::uint32_t, std::uint32_t>& owner) {
    return Json(fmt::format("{}:{}", owner.first, owner.second));
}

}  // namespace

bool is_proxy_variable(const std::string& name) {
    return std::any_of(std::begin(kProxyVariables), std::end(kProxyVariables),
                       [&](const auto& spellings) { return name == spellings[0] || name == spellings[1]; });
}

StageBuilder::StageBuilder(BuildShared& shared, const recipe::Stage& stage, Image base)
    : shared_(shared), stage_(stage), image_(std::move(base)) {
    if (shared_.options.source_date) {
        made_at_.seconds = *shared_.options.source_date;
    } else if (image_.created) {
        made_at_.seconds = parse_rfc3339(*image_.created).value_or(0);
    }
    image_.created = rfc3339(made_at_.seconds);
    const auto& env = image_.config.env;
    if (std::none_of(env.begin(), env.end(),
                     [](const std::string& item) { return item.starts_with("PATH="); })) {
        image_.config.env.emplace_back(kDefaultPath);
    }
    variables_ = image_.config.env;
}

void StageBuilder::run() {
    for (const recipe::Step& step : stage_.steps) {
        StepReport report;
        report.number = ++shared_.step;
        report.total = shared_.total;
        report.stage = stage_.name;
        report.text = one_line(step.original);
        shared_.observer.started(report);
        const auto begin = std::chrono::steady_clock::now();
        try {
            carry_out(step, report);
        } catch (Error& e) {
            const recipe::Position at = step.where.begin;
            e.within(fmt::format("{}:{}:{}: step {} of {} ({}) failed", shared_.recipe.file, at.line,
                                 at.column, report.number, report.total, shortened(report.text)));
            throw;
        }
        report.duration = std::chrono::steady_clock::now() - begin;
        shared_.result.steps++;
        if (report.cached) shared_.result.cached_steps++;
        shared_.observer.finished(report);
    }
}

void StageBuilder::carry_out(const recipe::Step& step, StepReport& report) {
    if (const auto* run = std::get_if<recipe::Run>(&step.what)) return run_command(step, *run, report);
    if (const auto* from = std::get_if<recipe::Copy>(&step.what)) return copy(step, *from, report);
    if (const auto* path = std::get_if<recipe::Workdir>(&step.what)) return workdir(*path, report);
    report.cached = true;  // the rest only writes the configuration: there is nothing to run
    if (const auto* variables = std::get_if<recipe::Arg>(&step.what)) {
        arg(*variables);
    } else if (const auto* pairs = std::get_if<recipe::Env>(&step.what)) {
        env(*pairs);
    } else {
        configure(step);
    }
    add_history(step.original, true);
}

// ---- the configuration

recipe::Expansion StageBuilder::expansion(const recipe::Word& word) const {
    const recipe::Expander expander(
        [this](const std::string& name) -> std::optional<std::string> {
            for (const std::string& item : variables_) {
                if (item.size() > name.size() && item[name.size()] == '=' && item.starts_with(name))
                    return item.substr(name.size() + 1);
            }
            return std::nullopt;
        },
        shared_.recipe.escape);
    try {
        return expander.expand(word.text);
    } catch (Error& e) { throw shared_.recipe.source.error(word.where, e.message()); }
}

void StageBuilder::env(const recipe::Env& env) {
    std::vector<std::pair<std::string, std::string>> values;  // all see what was before the instruction
    for (const recipe::Pair& pair : env.pairs) values.emplace_back(expand(pair.name), expand(pair.value));
    for (const auto& [name, value] : values) {
        set_variable(image_.config.env, name, value);
        set_variable(variables_, name, value);
    }
}

void StageBuilder::arg(const recipe::Arg& arg) {
    for (const recipe::ArgVariable& variable : arg.variables) {
        const std::string& name = variable.name.text;
        shared_.consumed_args.insert(name);
        std::optional<std::string> value;
        if (const auto given = shared_.options.build_args.find(name);
            given != shared_.options.build_args.end()) {
            value = given->second;
        } else if (variable.value) {
            value = expand(*variable.value);
        } else if (const auto global = shared_.global_args.find(name); global != shared_.global_args.end()) {
            value = global->second;
        }
        if (!value) continue;  // a name without any value stays unset
        args_[name] = *value;
        set_variable(variables_, name, *value);
    }
}

std::vector<std::string> StageBuilder::command(const recipe::CommandLine& line) const {
    if (!line.shell) return line.words;
    std::vector<std::string> words = shell_of(image_.config);
    words.push_back(line.words.empty() ? std::string() : line.words.front());
    return words;
}

void StageBuilder::configure(const recipe::Step& step) {
    ImageConfig& config = image_.config;
    if (const auto* label = std::get_if<recipe::Label>(&step.what)) {
        for (const recipe::Pair& pair : label->pairs) config.labels[expand(pair.name)] = expand(pair.value);
    } else if (const auto* user = std::get_if<recipe::User>(&step.what)) {
        config.user = expand(user->user);
    } else if (const auto* volume = std::get_if<recipe::Volume>(&step.what)) {
        for (const recipe::Word& path : volume->paths) config.volumes.push_back(expand(path));
        sort_unique(config.volumes);
    } else if (const auto* expose = std::get_if<recipe::Expose>(&step.what)) {
        for (const recipe::Word& word : expose->ports) {
            for (const std::string& one : expansion(word).words) {
                try {
                    for (std::string& port : recipe::parse_ports(one))
                        config.exposed_ports.push_back(std::move(port));
                } catch (Error& e) { throw shared_.recipe.source.error(word.where, e.message()); }
            }
        }
        sort_unique(config.exposed_ports);
    } else if (const auto* entrypoint = std::get_if<recipe::Entrypoint>(&step.what)) {
        config.entrypoint = command(entrypoint->command);
        // A command that came with the base belonged to the base's entrypoint.
        if (!cmd_is_ours_) config.cmd.reset();
    } else if (const auto* cmd = std::get_if<recipe::Cmd>(&step.what)) {
        config.cmd = command(cmd->command);
        cmd_is_ours_ = true;
    } else if (const auto* shell = std::get_if<recipe::Shell>(&step.what)) {
        config.shell = shell->words;
    } else if (const auto* check = std::get_if<recipe::Healthcheck>(&step.what)) {
        Healthcheck value;
        value.test = check->test;
        value.interval_ns = check->interval.count();
        value.timeout_ns = check->timeout.count();
        value.start_period_ns = check->start_period.count();
        value.start_interval_ns = check->start_interval.count();
        value.retries = check->retries;
        config.healthcheck = value;
    } else if (const auto* stop = std::get_if<recipe::StopSignal>(&step.what)) {
        const std::string signal = expand(stop->signal);
        try {
            parse_signal(signal);
        } catch (Error& e) {
            throw shared_.recipe.source.error(stop->signal.where, e.message()).hint(e.hint());
        }
        config.stop_signal = signal;
    } else if (const auto* maintainer = std::get_if<recipe::Maintainer>(&step.what)) {
        image_.author = maintainer->author;
    } else {
        // check_supported() refuses these before anything is built.
        throw shared_.recipe.source.error(step.where, "this instruction is not executed by surcoat",
                                          Errc::unsupported);
    }
}

// ---- layers

Tree& StageBuilder::tree() {
    if (!tree_) {
        shared_.ledger.flush();  // the store knows published layers only
        tree_ = *shared_.store.tree(image_.layers);
    }
    return *tree_;
}

void StageBuilder::push_layer(const DiffId& layer, std::optional<Tree> after) {
    image_.layers.push_back(layer);
    tree_ = std::move(after);
}

bool StageBuilder::from_cache(const StepKey& key, StepReport& report) {
    if (shared_.options.no_cache) return false;
    const auto layer = shared_.ledger.find(key);
    if (!layer) return false;
    report.cached = true;
    report.layer = layer;
    if (const auto row = shared_.store.catalogue().layer(*layer)) report.layer_bytes = row->content_bytes;
    push_layer(*layer, std::nullopt);
    return true;
}

void StageBuilder::store_layer(const StepKey& key, std::vector<Entry> entries, StepReport& report) {
    for (Entry& entry : entries) {
        if (entry.kind != Entry::Kind::add) continue;
        entry.inode.mtime.nanoseconds = 0;
        if (shared_.options.source_date)
            entry.inode.mtime.seconds = std::min(entry.inode.mtime.seconds, made_at_.seconds);
        report.layer_bytes += entry.inode.size;
    }
    const DiffId layer = shared_.ledger.add(key, entries);
    report.layer = layer;
    shared_.result.new_layer_bytes += report.layer_bytes;
    Tree after = std::move(tree());
    after.apply(entries);
    push_layer(layer, std::move(after));
}

void StageBuilder::add_history(const std::string& created_by, bool empty_layer) {
    History history;
    history.created = image_.created;
    history.created_by = one_line(created_by);
    history.comment = "surcoat.recipe.v1";
    history.empty_layer = empty_layer;
    image_.history.push_back(std::move(history));
}

Accounts StageBuilder::accounts() {
    Tree& root = tree();
    return Accounts([&](const std::string& path) -> std::optional<std::string> {
        const auto found = root.resolve(path, true);
        if (!found || found->node == nullptr || found->node->inode->type != FileType::regular)
            return std::nullopt;
        if (!found->node->inode->object) return std::string();
        // A file that an earlier COPY staged is not in the store before it is published.
        if (!shared_.store.catalogue().has_object(*found->node->inode->object)) shared_.ledger.flush();
        return surcoat::read_file(shared_.store.open_object(*found->node->inode->object).get(), 16 << 20);
    });
}

void StageBuilder::workdir(const recipe::Workdir& workdir, StepReport& report) {
    const std::string path = recipe::normalize_workdir(image_.config.working_dir, expand(workdir.path));
    image_.config.working_dir = path;
    if (path == "/") {
        report.cached = true;
        add_history("WORKDIR " + path, true);
        return;
    }
    StepKey key("WORKDIR", image_.layers);
    key.part("path", path).part("user", image_.config.user).part("made_at", made_at_.seconds);
    if (!from_cache(key, report)) {
        const Accounts::Owner owner =
            image_.config.user.empty() ? Accounts::Owner{} : accounts().user(image_.config.user);
        Tree after = tree();
        make_directories(after, path.substr(1), 0755, owner.uid, owner.gid, made_at_);
        store_layer(key, diff_trees(tree(), after), report);
    }
    add_history("WORKDIR " + path, false);
}

void StageBuilder::copy(const recipe::Step& step, const recipe::Copy& copy, StepReport& report) {
    const SourceTree source = copy.from ? shared_.source(copy.from->text) : shared_.context.files();
    std::vector<Selected> selected;
    for (const recipe::Word& word : copy.sources) {
        const std::string text = expand(word);
        try {
            for (Selected& one : select_sources(source, {text})) selected.push_back(std::move(one));
        } catch (Error& e) {
            throw shared_.recipe.source.error(word.where, e.message(), e.code()).hint(e.hint());
        }
    }

    CopyRequest request;
    request.destination = expand(copy.destination);
    request.working_dir = image_.config.working_dir.empty() ? "/" : image_.config.working_dir;
    request.made_at = made_at_;
    const std::string mode = copy.chmod ? expand(*copy.chmod) : std::string();
    if (!mode.empty()) {
        try {
            request.chmod.emplace(mode);
        } catch (Error& e) { throw shared_.recipe.source.error(copy.chmod->where, e.message()); }
    }
    if (copy.chown) {
        const Accounts::Owner owner = accounts().chown(expand(*copy.chown));
        if (!owner.unknown.empty()) {
            shared_.observer.warning(
                fmt::format("{}:{}:{}: --chown names '{}', which the image's /etc/passwd and /etc/group do "
                            "not have: taken as 0, as the reference does",
                            shared_.recipe.file, copy.chown->where.begin.line, copy.chown->where.begin.column,
                            owner.unknown));
        }
        request.chown = {owner.uid, owner.gid};
    }

    StepKey key("COPY", image_.layers);
    key.part("sources", fingerprint(source, selected).str())
        .part("destination", request.destination)
        .part("working_dir", request.destination.starts_with("/") ? "" : request.working_dir)
        .part("chmod", mode)
        .part("chown", request.chown ? numbers(*request.chown) : Json())
        .part("made_at", made_at_.seconds);
    if (!from_cache(key, report)) {
        Tree after = tree();
        Transaction& transaction = shared_.ledger.transaction();
        const StageContent stage = [&](const std::string& path,
                                       const Inode& inode) -> std::optional<ObjectId> {
            if (inode.size == 0) return std::nullopt;
            if (inode.object) return inode.object;  // of a stage or an image: in the store already
            const ObjectId id = transaction.add_object_from(source.open(path, inode).get(), inode.size);
            if (id != source.object(path, inode)) {
                throw Error(Errc::conflict, fmt::format("'/{}' changed while it was being copied", path))
                    .hint("build again");
            }
            return id;
        };
        try {
            copy_into(after, source, selected, request, stage);
        } catch (Error& e) {
            if (e.code() != Errc::invalid) throw;
            throw shared_.recipe.source.error(copy.destination.where, e.message());
        }
        store_layer(key, diff_trees(tree(), after), report);
    }
    add_history(step.original, false);
}

void StageBuilder::keep_root(Workspace& workspace, const Command& failed, Error& error) {
    try {
        const std::string name = workspace.keep(failed);
        error.hint(
            fmt::format("its root is kept as container '{0}': see `surcoat diff {0}`, enter it with `surcoat "
                        "start -ai {0}`, remove it with `surcoat rm {0}`",
                        name));
    } catch (const Error& e) {
        // The step's own failure is what matters.
        shared_.observer.warning(fmt::format("the failed step's root could not be kept: {}", e.what()));
    }
}

void StageBuilder::run_command(const recipe::Step& step, const recipe::Run& run, StepReport& report) {
    if (run.command.words.empty() && run.command.files.empty()) {
        throw shared_.recipe.source.error(step.where, "RUN has no command")
            .hint("write what to run, or remove the line");
    }
    Command command;
    std::string description;
    if (run.command.shell) {
        const recipe::Script script = recipe::script_of(run.command);
        command.args = shell_of(image_.config);
        if (script.file_name) {
            const std::string path = "/dev/pipes/" + *script.file_name;
            command.files.emplace_back(path, script.text);
            command.args = {path};
        } else {
            command.args.push_back(script.text);
        }
    } else {
        command.args = run.command.words;
    }
    command.env = variables_;
    command.working_dir = image_.config.working_dir.empty() ? "/" : image_.config.working_dir;
    command.user = image_.config.user;
    command.network = shared_.options.network && run.network != "none";

    StepKey key("RUN", image_.layers);
    key.part("args", Json(command.args))
        .part("env", Json(command.env))
        .part("working_dir", command.working_dir);
    key.part("user", command.user).part("network", command.network).part("made_at", made_at_.seconds);
    for (const auto& [path, text] : command.files) key.part("file " + path, Digest::of(text).str());

    // Said with the arguments that reach it, as docker's history does: "|1 A=x /bin/sh -c …".
    if (!args_.empty()) {
        description = fmt::format("|{}", args_.size());
        for (const auto& [name, value] : args_) description += fmt::format(" {}={}", name, value);
        description += ' ';
    }
    description += fmt::format("{}", fmt::join(command.args, " "));

    if (!from_cache(key, report)) {
        add_proxies(command.env, shared_.options.build_args);
        Tree& before = tree();
        shared_.ledger.flush();
        const std::int64_t started = std::time(nullptr);
        const auto workspace = shared_.workspaces.open(image_.layers, image_.config);
        const ExitStatus status =
            workspace->run(command, [&](std::string_view text) { shared_.observer.output(text); });
        if (!status.ok()) {
            Error error(Errc::failed,
                        status.signal != 0
                            ? fmt::format("the command was ended by signal {} ({})", status.signal,
                                          ::strsignal(status.signal))
                            : fmt::format("the command ended with exit status {}", status.code));
            if (shared_.options.keep_failed) keep_root(*workspace, command, error);
            throw error;
        }
        const Tree after = workspace->tree(shared_.ledger.transaction());
        std::vector<Entry> entries = diff_trees(before, after);
        // What the command wrote now would carry the time of this run: the same recipe must give the same
        // layer on every run, so it gets the image's own time.
        for (Entry& entry : entries) {
            if (entry.kind == Entry::Kind::add && entry.inode.mtime.seconds >= started)
                entry.inode.mtime = made_at_;
        }
        store_layer(key, std::move(entries), report);
    }
    add_history("RUN " + description, false);
}

}  // namespace surcoat::build
