// Whole recipes: what the first implementation's lexer and parser made of them.
#include <catch2/catch.hpp>

#include <map>

#include "layers/recipe/lexer.h"
#include "layers/recipe/mount.h"
#include "layers/recipe/parse.h"
#include "tests/layers/recipe/vectors.h"

using namespace surcoat;
using namespace surcoat::recipe;
using namespace surcoat::test;

namespace {

std::vector<std::string> texts(const std::vector<Word>& words) {
    std::vector<std::string> out;
    for (const Word& word : words) out.push_back(word.text);
    return out;
}
std::string text(const std::optional<Word>& word) {
    return word ? word->text : "";
}

Json strings_or_null(const std::vector<Word>& words) {
    return words.empty() ? Json() : Json(texts(words));
}
Json bool_or_null(const std::optional<bool>& value) {
    return value ? Json(*value) : Json();
}
template <typename T>
Json number_or_null(const std::optional<T>& value) {
    return value ? Json(std::int64_t{*value}) : Json();
}

Json mount_json(const Mount& mount) {
    return Json::object({{"env", mount.env ? Json(*mount.env) : Json()},
                         {"from", mount.from},
                         {"gid", number_or_null(mount.gid)},
                         {"id", mount.id},
                         {"mode", number_or_null(mount.mode)},
                         {"readonly", mount.read_only},
                         {"required", mount.required},
                         {"sharing", to_string(mount.sharing)},
                         {"size", mount.size_bytes},
                         {"source", mount.source},
                         {"target", mount.target},
                         {"type", to_string(mount.type)},
                         {"uid", number_or_null(mount.uid)}});
}

/// The tables were made with values left as they are.
std::string unexpanded(std::string_view value) {
    return std::string(value);
}

/// A step in the form of the recorded tables.
struct ToJson {
    Json operator()(const Run& run) const {
        Json out = command(run.command, "RUN");
        out.set("network", run.network).set("security", run.security);
        if (!run.command.files.empty()) {
            Json files = Json::array();
            for (const InlineFile& file : run.command.files) {
                files.push_back(
                    Json::object({{"chomp", file.strip_tabs}, {"data", file.content}, {"name", file.name}}));
            }
            out.set("files", files);
        }
        if (run.mounts.empty()) return out;
        Json mounts = Json::array();
        for (const Word& word : run.mounts) {
            const auto mount = attempt([&] { return parse_mount(word.text, unexpanded); });
            if (!mount) return out.set("mount_error", true);
            mounts.push_back(mount_json(*mount));
        }
        return out.set("mounts", mounts);
    }
    Json operator()(const Copy& copy) const {
        Json out = transfer(copy, "COPY");
        return out.set("from", text(copy.from)).set("parents", copy.parents);
    }
    Json operator()(const Add& add) const {
        Json out = transfer(add, "ADD");
        return out.set("checksum", text(add.checksum))
            .set("keep_git_dir", bool_or_null(add.keep_git_dir))
            .set("unpack", bool_or_null(add.unpack));
    }
    Json operator()(const Env& env) const {
        return Json::object({{"type", "ENV"}, {"env", pairs(env.pairs)}});
    }
    Json operator()(const Label& label) const {
        return Json::object({{"type", "LABEL"}, {"labels", pairs(label.pairs)}});
    }
    Json operator()(const Arg& arg) const {
        return Json::object({{"type", "ARG"}, {"args", variables(arg.variables)}});
    }
    Json operator()(const Workdir& w) const {
        return Json::object({{"type", "WORKDIR"}, {"path", w.path.text}});
    }
    Json operator()(const User& u) const { return Json::object({{"type", "USER"}, {"user", u.user.text}}); }
    Json operator()(const Volume& v) const {
        return Json::object({{"type", "VOLUME"}, {"volumes", texts(v.paths)}});
    }
    Json operator()(const Expose& e) const {
        return Json::object({{"type", "EXPOSE"}, {"ports", texts(e.ports)}});
    }
    Json operator()(const Entrypoint& e) const { return command(e.command, "ENTRYPOINT"); }
    Json operator()(const Cmd& c) const { return command(c.command, "CMD"); }
    Json operator()(const Shell& s) const { return Json::object({{"type", "SHELL"}, {"shell", s.words}}); }
    Json operator()(const Healthcheck& h) const {
        return Json::object({{"type", "HEALTHCHECK"},
                             {"test", h.test},
                             {"interval", std::int64_t{h.interval.count()}},
                             {"timeout", std::int64_t{h.timeout.count()}},
                             {"start_period", std::int64_t{h.start_period.count()}},
                             {"start_interval", std::int64_t{h.start_interval.count()}},
                             {"retries", h.retries}});
    }
    Json operator()(const StopSignal& s) const {
        return Json::object({{"type", "STOPSIGNAL"}, {"signal", s.signal.text}});
    }
    Json operator()(const OnBuild& o) const {
        return Json::object({{"type", "ONBUILD"}, {"expression", o.instruction}});
    }
    Json operator()(const Maintainer& m) const {
        return Json::object({{"type", "MAINTAINER"}, {"value", m.author}});
    }

    static Json variables(const std::vector<ArgVariable>& all) {
        Json out = Json::array();
        for (const ArgVariable& variable : all) {
            out.push_back(Json::object({{"key", variable.name.text},
                                        {"value", variable.value ? Json(variable.value->text) : Json()},
                                        {"doc", variable.description}}));
        }
        return out;
    }

  private:
    static Json command(const CommandLine& line, const char* type) {
        return Json::object({{"type", type}, {"cmdline", line.words}, {"prepend_shell", line.shell}});
    }
    static Json transfer(const Transfer& transfer, const char* type) {
        Json out = Json::object({{"type", type},
                                 {"chmod", text(transfer.chmod)},
                                 {"chown", text(transfer.chown)},
                                 {"dest", transfer.destination.text},
                                 {"exclude", strings_or_null(transfer.exclude)},
                                 {"link", transfer.link},
                                 {"sources", strings_or_null(transfer.sources)}});
        if (transfer.files.empty()) return out;
        Json files = Json::array();
        for (const InlineFile& file : transfer.files) {
            files.push_back(
                Json::object({{"data", file.content}, {"expand", file.expand}, {"path", file.name}}));
        }
        return out.set("contents", files);
    }
    static Json pairs(const std::vector<Pair>& all) {
        Json out = Json::array();
        for (const Pair& pair : all) {
            out.push_back(Json::object(
                {{"key", pair.name.text}, {"value", pair.value.text}, {"nodelim", pair.legacy}}));
        }
        return out;
    }
};

/// Members in the order of their names, so that two documents can be compared as text.
std::string canonical(const Json& value) {
    if (value.is_object()) {
        std::map<std::string, std::string> members;
        for (const auto& [name, member] : value.as_object()) members[name] = canonical(member);
        std::string out = "{";
        for (const auto& [name, member] : members) out += name + ":" + member + ",\n";
        return out + "}";
    }
    if (value.is_array()) {
        std::string out = "[";
        for (const Json& item : value.as_array()) out += canonical(item) + ",";
        return out + "]";
    }
    return value.dump();
}

/// What an ONBUILD in an ONBUILD holds comes as flat words in the tables.
std::vector<std::string> flat_arguments(const Instruction& instruction) {
    std::vector<std::string> out = texts(instruction.arguments);
    for (const Instruction& inner : instruction.trigger) {
        out.push_back(inner.keyword);
        for (std::string& argument : flat_arguments(inner)) out.push_back(std::move(argument));
    }
    return out;
}

void check_instruction(const Instruction& got, const Json& expect) {
    CHECK(got.keyword == expect["cmd"].as_string());
    CHECK(texts(got.flags) == expect.strings("flags"));
    CHECK(got.json == expect.bool_or("json", false));
    if (!expect.contains("sub")) {
        CHECK(texts(got.arguments) == expect.strings("args"));
        return;
    }
    REQUIRE(got.trigger.size() == 1);
    CHECK(got.trigger[0].keyword == expect["sub"]["cmd"].as_string());
    CHECK(flat_arguments(got.trigger[0]) == expect["sub"].strings("args"));
    CHECK(texts(got.trigger[0].flags) == expect["sub"].strings("flags"));
}

}  // namespace

TEST_CASE("recipes are cut into instructions as recorded", "[recipe][lexer][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("parser/parse.jsonl"));
    const std::size_t rows = each_row("parser/parse.jsonl", [](const Json& row) {
        const Json& expect = row["expect"];
        std::string message;
        const auto ast =
            attempt([&] { return lex(Source("Dockerfile", row["dockerfile"].as_string())); }, &message);
        INFO(row["id"].as_string() << "\n" << row["dockerfile"].as_string() << "\n" << message);
        REQUIRE(ast.has_value() == !expect.contains("error"));
        if (!ast) return;
        CHECK(ast->dump() == expect["dump"].as_string());
        CHECK(std::string(1, ast->escape) == expect["escape"].as_string());
        CHECK(ast->warnings.size() == expect.strings("warnings").size());
        const Json::Array& instructions = expect["instructions"].as_array();
        REQUIRE(ast->instructions.size() == instructions.size());
        for (std::size_t i = 0; i < instructions.size(); ++i) {
            const Instruction& got = ast->instructions[i];
            INFO(instructions[i].dump());
            check_instruction(got, instructions[i]);
            CHECK(got.original == instructions[i]["original"].as_string());
            CHECK(got.where.begin.line == instructions[i]["start"].as_int());
            CHECK(got.where.end.line == instructions[i]["end"].as_int());
            CHECK(got.comments == instructions[i].strings("prev_comment"));
            Json heredocs = Json::array();
            for (const Heredoc& h : got.heredocs) {
                heredocs.push_back(Json::object({{"chomp", h.strip_tabs},
                                                 {"content", h.content},
                                                 {"expand", h.expand},
                                                 {"fd", std::int64_t{h.descriptor}},
                                                 {"name", h.name}}));
            }
            if (instructions[i].contains("heredocs")) {
                CHECK(canonical(heredocs) == canonical(instructions[i]["heredocs"]));
            } else {
                CHECK(heredocs.size() == 0);
            }
        }
    });
    CHECK(rows == 920);
}

TEST_CASE("recipes become typed stages and steps as recorded", "[recipe][parse][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("parser/instructions.jsonl"));
    const std::size_t rows = each_row("parser/instructions.jsonl", [](const Json& row) {
        const Json& expect = row["expect"];
        std::string message;
        const auto recipe = attempt([&] { return parse(row["dockerfile"].as_string()); }, &message);
        INFO(row["id"].as_string() << "\n" << row["dockerfile"].as_string() << "\n" << message);
        REQUIRE(recipe.has_value() == !expect.contains("error"));
        if (!recipe) return;
        Json globals = Json::array();
        for (const Json& meta : expect["meta_args"].as_array()) {
            for (const Json& arg : meta["args"].as_array()) globals.push_back(arg);
        }
        CHECK(canonical(ToJson::variables(recipe->args)) == canonical(globals));
        const Json::Array& stages = expect["stages"].as_array();
        REQUIRE(recipe->stages.size() == stages.size());
        for (std::size_t i = 0; i < stages.size(); ++i) {
            const Stage& stage = recipe->stages[i];
            CHECK(stage.base == stages[i]["base"].as_string());
            CHECK(stage.name == stages[i]["name"].as_string());
            CHECK(stage.platform == stages[i]["platform"].as_string());
            CHECK(stage.description == stages[i]["doc"].as_string());
            const Json::Array& commands = stages[i]["commands"].as_array();
            REQUIRE(stage.steps.size() == commands.size());
            for (std::size_t j = 0; j < commands.size(); ++j) {
                Json command = commands[j];
                if (command.contains("mount_error")) command.set("mount_error", true);
                CHECK(canonical(std::visit(ToJson(), stage.steps[j].what)) == canonical(command));
            }
        }
    });
    CHECK(rows == 920);
}

TEST_CASE("mounts read as recorded", "[recipe][mount][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("parser/run_mount.jsonl"));
    const std::size_t rows = each_row("parser/run_mount.jsonl", [](const Json& row) {
        // The value as a flag on an instruction, where an outer pair of quotes is what keeps a blank inside.
        std::string value = row["mount"].as_string();
        if (value.find(' ') != std::string::npos) {
            std::string escaped;
            for (const char c : value) escaped += c == '"' ? "\\\"" : std::string(1, c);
            value = "\"" + escaped + "\"";
        }
        std::string message;
        const Json& expect = row["expect"];
        INFO(row.dump());
        const auto recipe =
            attempt([&] { return parse("FROM a\nRUN --mount=" + value + " true\n"); }, &message);
        REQUIRE(recipe.has_value() == !expect.contains("error"));
        if (!recipe) return;
        const Run& run = std::get<Run>(recipe->stages.at(0).steps.at(0).what);
        const auto mount = attempt([&] { return parse_mount(run.mounts.at(0).text, unexpanded); }, &message);
        INFO(message);
        REQUIRE(mount.has_value() == expect.contains("mount"));
        if (mount) CHECK(canonical(mount_json(*mount)) == canonical(expect["mount"]));
    });
    CHECK(rows == 326);
}

TEST_CASE("the language's own example recipes give their recorded dumps", "[recipe][lexer][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("parser/testfiles"));
    int files = 0;
    for (const auto& folder : std::filesystem::directory_iterator(*recorded("parser/testfiles"))) {
        INFO(folder.path());
        std::string expected = read_file(folder.path() / "result");
        while (expected.ends_with('\n')) expected.pop_back();
        CHECK(lex(Source("Dockerfile", read_file(folder.path() / "Dockerfile"))).dump() == expected);
        ++files;
    }
    CHECK(files == 33);
    for (const auto& folder : std::filesystem::directory_iterator(*recorded("parser/testfiles-negative"))) {
        INFO(folder.path());
        CHECK_THROWS_AS(parse(read_file(folder.path() / "Dockerfile")), Error);
    }
}

TEST_CASE("instructions know the lines on which they begin and end", "[recipe][lexer][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("parser/testfile-line"));
    const Ast ast = lex(Source("Dockerfile", read_file(*recorded("parser/testfile-line") / "Dockerfile")));
    std::vector<std::pair<int, int>> lines;
    for (const Instruction& instruction : ast.instructions) {
        lines.emplace_back(instruction.where.begin.line, instruction.where.end.line);
    }
    CHECK(lines == std::vector<std::pair<int, int>>{{5, 5}, {11, 12}, {17, 31}});
}
