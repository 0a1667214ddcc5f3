#include "layers/recipe/instruction_parser.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "layers/base/suggest.h"
#include "layers/recipe/characters.h"
#include "layers/recipe/flags.h"
#include "layers/recipe/mount.h"
#include "layers/recipe/quantity.h"

namespace surcoat::recipe {

namespace {

using Kind = FlagSet::Kind;

/// The text of a comment "# <name> text" directly above, as build listings show it.
std::string description_of(const Instruction& instruction, const std::string& name) {
    if (name.empty()) return {};
    for (const std::string& comment : instruction.comments) {
        if (comment.starts_with(name + " ")) return comment.substr(name.size() + 1);
    }
    return {};
}

/// Reads one instruction; each function is one keyword's syntax.
class Parser {
  public:
    Parser(const Source& source, const Instruction& instruction)
        : source_(source),
          in_(instruction),
          keyword_(ascii_upper(instruction.keyword)),
          arguments_(instruction.arguments) {}

    Stage from() const;
    decltype(Step::what) step() const;

  private:
    Error error(const Span& where, const std::string& message) const { return source_.error(where, message); }
    FlagSet flags(const std::vector<FlagSet::Known>& known = {}) const {
        return FlagSet(source_, in_, known);
    }
    void no_flags() const { flags(); }
    void at_least_one() const {
        if (arguments_.empty()) {
            throw error(in_.keyword_at, keyword_ + " has no argument")
                .hint(fmt::format("write {} and what it is to set", keyword_));
        }
    }
    const Word& exactly_one() const {
        at_least_one();
        if (arguments_.size() != 1) {
            throw error(arguments_[1].where,
                        fmt::format("{} has {} arguments, not one", keyword_, arguments_.size()))
                .hint("put an argument with blanks in quotes");
        }
        return arguments_[0];
    }

    CommandLine command() const;
    std::vector<Pair> pairs() const;
    Run run() const;
    Copy copy() const;
    Add add() const;
    void transfer(Transfer& out, const FlagSet& given) const;
    Arg arg() const;
    Volume volume() const;
    Expose expose() const;
    Shell shell() const;
    Healthcheck healthcheck() const;
    std::chrono::nanoseconds interval(const FlagSet& given, const std::string& name) const;
    OnBuild onbuild() const;
    Error unknown() const;

    const Source& source_;
    const Instruction& in_;
    const std::string keyword_;
    const std::vector<Word>& arguments_;
};

Stage Parser::from() const {
    Stage stage;
    const FlagSet given = flags({{"platform", Kind::text}});
    const bool named = arguments_.size() == 3 && ascii_lower(arguments_[1].text) == "as";
    if (arguments_.size() != 1 && !named) {
        const Span where =
            arguments_.empty() ? in_.keyword_at : arguments_[arguments_.size() > 1 ? 1 : 0].where;
        throw error(where, arguments_.empty() ? "FROM has no image"
                                              : fmt::format("FROM has {} arguments", arguments_.size()))
            .hint("write FROM image, or FROM image AS name");
    }
    if (named) {
        stage.name = ascii_lower(arguments_[2].text);
        const bool good =
            stage.name[0] >= 'a' && stage.name[0] <= 'z' &&
            stage.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") == std::string::npos;
        if (!good) {
            throw error(arguments_[2].where,
                        fmt::format("'{}' cannot be the name of a stage", arguments_[2].text))
                .hint(
                    "a name begins with a letter and has letters, digits, '-', '_' and '.'; variables are "
                    "not replaced in it");
        }
    }
    stage.base = arguments_[0].text;
    stage.base_at = arguments_[0].where;
    if (const auto platform = given.text("platform")) {
        stage.platform = platform->text;
        stage.platform_at = platform->where;
    }
    stage.description = description_of(in_, stage.name);
    stage.at = in_.where.begin;
    stage.where = in_.where;
    stage.original = in_.original;
    return stage;
}

decltype(Step::what) Parser::step() const {
    if (keyword_ == "RUN") return run();
    if (keyword_ == "COPY") return copy();
    if (keyword_ == "ADD") return add();
    if (keyword_ == "HEALTHCHECK") return healthcheck();
    const auto& known = instruction_keywords();
    if (std::find(known.begin(), known.end(), keyword_) == known.end()) throw unknown();
    no_flags();
    if (keyword_ == "ENV") return Env{pairs()};
    if (keyword_ == "LABEL") return Label{pairs()};
    if (keyword_ == "ARG") return arg();
    if (keyword_ == "WORKDIR") return Workdir{exactly_one()};
    if (keyword_ == "USER") return User{exactly_one()};
    if (keyword_ == "VOLUME") return volume();
    if (keyword_ == "EXPOSE") return expose();
    if (keyword_ == "ENTRYPOINT") return Entrypoint{command()};
    if (keyword_ == "CMD") return Cmd{command()};
    if (keyword_ == "SHELL") return shell();
    if (keyword_ == "STOPSIGNAL") return StopSignal{exactly_one()};
    if (keyword_ == "ONBUILD") return onbuild();
    return Maintainer{exactly_one().text};
}

Error Parser::unknown() const {
    const std::string hint =
        "the instructions are ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER "
        "ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR";
    if (in_.keyword.empty()) {
        return error(in_.where, "there is an escape character but no instruction")
            .hint("remove the line, or put the rest of the instruction before it");
    }
    return error(in_.keyword_at, fmt::format("unknown instruction '{}'{}", in_.keyword,
                                             did_you_mean(in_.keyword, instruction_keywords())))
        .hint(hint + "; a line that goes on with the one above needs a '\\' at the end of that one");
}

CommandLine Parser::command() const {
    CommandLine out;
    out.shell = !in_.json;
    for (const Word& word : arguments_) out.words.push_back(word.text);
    for (const Heredoc& heredoc : in_.heredocs) {
        out.files.push_back({heredoc.name, heredoc.content, heredoc.expand, heredoc.strip_tabs, in_.where});
    }
    return out;
}

std::vector<Pair> Parser::pairs() const {
    at_least_one();
    std::vector<Pair> out;
    for (std::size_t i = 0; i + 2 < arguments_.size(); i += 3) {
        if (arguments_[i].text.empty()) {
            throw error(arguments_[i + 2].where,
                        fmt::format("{} has a '=' without a name before it", keyword_))
                .hint(fmt::format("write {} name=value", keyword_));
        }
        out.push_back({arguments_[i], arguments_[i + 1], arguments_[i + 2].text.empty()});
    }
    return out;
}

Run Parser::run() const {
    const FlagSet given = flags(
        {{"mount", Kind::list}, {"network", Kind::text}, {"security", Kind::text}, {"device", Kind::list}});
    Run out;
    out.command = command();
    out.mounts = given.list("mount");
    for (const Word& mount : out.mounts) {
        try {
            check_mount(mount.text);
        } catch (const Error& e) { throw error(mount.where, e.message()).hint(e.hint()); }
    }
    out.devices = given.list("device");
    if (const auto network = given.text("network")) {
        out.network = network->text;
        if (out.network != "default" && out.network != "none" && out.network != "host") {
            throw error(network->where, fmt::format("unknown network mode '{}'{}", out.network,
                                                    did_you_mean(out.network, {"default", "none", "host"})))
                .hint("it can be default, none or host");
        }
    }
    if (const auto security = given.text("security")) {
        out.security = security->text;
        if (out.security != "sandbox" && out.security != "insecure") {
            throw error(security->where, fmt::format("unknown security mode '{}'{}", out.security,
                                                     did_you_mean(out.security, {"sandbox", "insecure"})))
                .hint("it can be sandbox or insecure");
        }
    }
    return out;
}

void Parser::transfer(Transfer& out, const FlagSet& given) const {
    if (arguments_.size() < 2) {
        throw error(arguments_.empty() ? in_.keyword_at : arguments_[0].where,
                    fmt::format("{} has {}", keyword_,
                                arguments_.empty() ? "no arguments" : "a source but no destination"))
            .hint(fmt::format("write {} source… destination", keyword_));
    }
    out.destination = arguments_.back();
    if (parse_heredoc(out.destination.text)) {
        throw error(out.destination.where,
                    fmt::format("the destination of {} cannot be a here-document", keyword_))
            .hint(fmt::format("write {} <<NAME /path", keyword_));
    }
    std::map<std::string, const Heredoc*> bodies;
    for (const Heredoc& body : in_.heredocs) bodies[body.name] = &body;
    for (std::size_t i = 0; i + 1 < arguments_.size(); ++i) {
        const auto opened = in_.json ? std::nullopt : parse_heredoc(arguments_[i].text);
        if (!opened) {
            out.sources.push_back(arguments_[i]);
            continue;
        }
        // Two of one name are one file, with the last body.
        InlineFile file{opened->name, "", opened->expand, opened->strip_tabs, arguments_[i].where};
        if (const auto body = bodies.find(opened->name); body != bodies.end())
            file.content = body->second->content;
        if (file.strip_tabs) file.content = strip_leading_tabs(file.content);
        out.files.push_back(std::move(file));
    }
    out.chown = given.text("chown");
    out.chmod = given.text("chmod");
    out.link = given.boolean("link").value_or(false);
    out.exclude = given.list("exclude");
}

Copy Parser::copy() const {
    const FlagSet given = flags({{"from", Kind::text},
                                 {"chown", Kind::text},
                                 {"chmod", Kind::text},
                                 {"link", Kind::boolean},
                                 {"parents", Kind::boolean},
                                 {"exclude", Kind::list}});
    Copy out;
    transfer(out, given);
    out.from = given.text("from");
    out.parents = given.boolean("parents").value_or(false);
    return out;
}

Add Parser::add() const {
    const FlagSet given = flags({{"chown", Kind::text},
                                 {"chmod", Kind::text},
                                 {"link", Kind::boolean},
                                 {"keep-git-dir", Kind::boolean},
                                 {"checksum", Kind::text},
                                 {"unpack", Kind::boolean},
                                 {"exclude", Kind::list}});
    Add out;
    transfer(out, given);
    out.checksum = given.text("checksum");
    out.keep_git_dir = given.boolean("keep-git-dir");
    out.unpack = given.boolean("unpack");
    return out;
}

Arg Parser::arg() const {
    at_least_one();
    Arg out;
    for (const Word& word : arguments_) {
        const std::size_t equals = word.text.find('=');
        ArgVariable variable;
        variable.name = {word.text.substr(0, equals), word.where};
        if (equals != std::string::npos) variable.value = Word{word.text.substr(equals + 1), word.where};
        if (variable.name.text.empty()) {
            throw error(word.where, "ARG has a '=' without a name before it")
                .hint("write ARG name or ARG name=default");
        }
        variable.description = description_of(in_, variable.name.text);
        out.variables.push_back(std::move(variable));
    }
    return out;
}

Volume Parser::volume() const {
    at_least_one();
    Volume out;
    for (const Word& word : arguments_) {
        const std::string_view path = trim(word.text);
        if (path.empty()) throw error(word.where, "VOLUME has an empty path").hint("write VOLUME /path");
        out.paths.push_back({std::string(path), word.where});
    }
    return out;
}

Expose Parser::expose() const {
    at_least_one();
    Expose out{arguments_};
    std::stable_sort(out.ports.begin(), out.ports.end(),
                     [](const Word& a, const Word& b) { return a.text < b.text; });
    return out;
}

Shell Parser::shell() const {
    if (!in_.json) {
        throw error(arguments_.empty() ? in_.keyword_at : arguments_[0].where,
                    "SHELL is not in the JSON form")
            .hint(R"(write SHELL ["/bin/bash", "-c"])");
    }
    at_least_one();
    return {command().words};
}

std::chrono::nanoseconds Parser::interval(const FlagSet& given, const std::string& name) const {
    const auto word = given.text(name);
    if (!word || word->text.empty()) return {};
    std::chrono::nanoseconds out{};
    try {
        out = parse_duration(word->text);
    } catch (const Error& e) {
        throw error(word->where, fmt::format("--{}: {}", name, e.message())).hint(e.hint());
    }
    if (out.count() != 0 && out < std::chrono::milliseconds(1)) {
        throw error(word->where, fmt::format("--{} is {}, which is less than 1ms", name, word->text))
            .hint("write 0 for the default, or at least 1ms");
    }
    return out;
}

Healthcheck Parser::healthcheck() const {
    at_least_one();
    const std::string type = ascii_upper(arguments_[0].text);
    const std::vector<std::string> rest = [&] {
        std::vector<std::string> words = command().words;
        words.erase(words.begin());
        return words;
    }();
    Healthcheck out;
    if (type == "NONE") {
        if (!rest.empty()) {
            throw error(arguments_[1].where, "HEALTHCHECK NONE has an argument")
                .hint("write HEALTHCHECK NONE alone");
        }
        no_flags();
        out.test = {"NONE"};
        return out;
    }
    const FlagSet given = flags({{"interval", Kind::text},
                                 {"timeout", Kind::text},
                                 {"start-period", Kind::text},
                                 {"start-interval", Kind::text},
                                 {"retries", Kind::text}});
    if (type != "CMD") {
        throw error(arguments_[0].where, fmt::format("unknown kind of HEALTHCHECK '{}'{}", arguments_[0].text,
                                                     did_you_mean(type, {"CMD", "NONE"})))
            .hint("write HEALTHCHECK CMD command, or HEALTHCHECK NONE");
    }
    if (rest.empty()) {
        throw error(arguments_[0].where, "HEALTHCHECK CMD has no command")
            .hint("write HEALTHCHECK CMD curl -f http://localhost/");
    }
    out.test = {in_.json ? "CMD" : "CMD-SHELL"};
    out.test.insert(out.test.end(), rest.begin(), rest.end());
    out.interval = interval(given, "interval");
    out.timeout = interval(given, "timeout");
    out.start_period = interval(given, "start-period");
    out.start_interval = interval(given, "start-interval");
    if (const auto retries = given.text("retries"); retries && !retries->text.empty()) {
        const char* end = retries->text.data() + retries->text.size();
        const auto [stop, failure] = std::from_chars(retries->text.data(), end, out.retries);
        if (failure != std::errc() || stop != end || out.retries < 0) {
            throw error(retries->where,
                        fmt::format("--retries is '{}', not a number from 0 on", retries->text))
                .hint("write --retries=3");
        }
    }
    return out;
}

OnBuild Parser::onbuild() const {
    if (in_.trigger.empty()) at_least_one();
    const Instruction& inner = in_.trigger[0];
    const std::string keyword = ascii_upper(inner.keyword);
    if (keyword == "ONBUILD" || keyword == "FROM" || keyword == "MAINTAINER") {
        throw error(inner.keyword_at, fmt::format("{} cannot be the trigger of an ONBUILD", keyword))
            .hint("any instruction but ONBUILD, FROM and MAINTAINER can");
    }
    std::string text(trim(trim(in_.original).substr(in_.keyword.size())));
    for (const Heredoc& heredoc : in_.heredocs) text += "\n" + heredoc.content + heredoc.name;
    return {std::move(text), inner.where};
}

}  // namespace

Stage parse_from(const Source& source, const Instruction& instruction) {
    return Parser(source, instruction).from();
}

Step parse_step(const Source& source, const Instruction& instruction) {
    return {instruction.where, instruction.original, Parser(source, instruction).step()};
}

}  // namespace surcoat::recipe
