// The tables that other engines' word-level code gave: expansion, patterns, modes, ports, paths, sizes.
#include <catch2/catch.hpp>

#include <map>
#include <sstream>

#include "layers/recipe/directives.h"
#include "layers/recipe/expand.h"
#include "layers/recipe/ignore.h"
#include "layers/recipe/mode.h"
#include "layers/recipe/path.h"
#include "layers/recipe/port.h"
#include "layers/recipe/quantity.h"
#include "layers/recipe/wildcard.h"
#include "tests/layers/recipe/vectors.h"

using namespace surcoat;
using namespace surcoat::recipe;
using namespace surcoat::test;

namespace {

std::set<std::string> as_set(const std::vector<std::string>& values) {
    return {values.begin(), values.end()};
}

std::string trimmed(std::string text) {
    text.erase(0, std::min(text.find_first_not_of(" \t"), text.size()));
    return text;
}

}  // namespace

TEST_CASE("words expand as recorded", "[recipe][expand][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("shell/process_word.jsonl"));
    const std::size_t rows = each_row("shell/process_word.jsonl", [](const Json& row) {
        Expander::Variables variables;
        for (const auto& [name, value] : row["env"].as_object()) variables[name] = value.as_string();
        const std::string word = row["word"].as_string();
        const Expander expander(variables, row.string_or("escape", "\\")[0]);
        std::string message;
        const auto got = attempt(
            [&] {
                return row.bool_or("skip_process_quotes", false) ? expander.expand_body(word)
                                                                 : expander.expand(word);
            },
            &message);
        const Json& expect = row["expect"];
        INFO(row.dump() << "\n" << message);
        REQUIRE(got.has_value() == !expect.contains("error"));
        if (!got) return;
        CHECK(got->text == expect["result"].as_string());
        CHECK(got->words == expect.strings("words"));
        CHECK(got->used == as_set(expect.strings("matched")));
        CHECK(got->missing == as_set(expect.strings("unmatched")));
    });
    CHECK(rows == 1054);
}

TEST_CASE("the table of variable forms holds", "[recipe][expand][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("shell/envVarTest"));
    const Expander expander({{"PWD", "/home"}, {"SHELL", "bash"}, {"KOREAN", "한국어"}, {"NULL", ""}});
    std::ifstream file(*recorded("shell/envVarTest"));
    int rows = 0;
    for (std::string line; std::getline(file, line);) {
        // W rows are of a system whose variable names ignore case; no image that is built here runs on it.
        if (line.empty() || line[0] == '#' || line[0] == 'W') continue;
        const std::size_t first = line.find('|');
        const std::size_t second = line.find('|', first + 1);
        REQUIRE(second != std::string::npos);
        std::string word = line.substr(first + 1, second - first - 1);
        word.erase(word.find_last_not_of(' ') + 1);
        const std::string expected = trimmed(line.substr(second + 1));
        INFO(line);
        const auto got = attempt([&] { return expander.text(word); });
        CHECK(got.value_or("error") == expected);
        ++rows;
    }
    CHECK(rows > 200);
}

TEST_CASE("the table of word splitting holds", "[recipe][expand][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("shell/wordsTest"));
    std::ifstream file(*recorded("shell/wordsTest"));
    Expander::Variables variables;
    int rows = 0;
    for (std::string line; std::getline(file, line);) {
        if (line.empty() || line[0] == '#') continue;
        if (line.starts_with("ENV ")) {
            const std::size_t equals = line.find('=');
            variables[line.substr(4, equals - 4)] = line.substr(equals + 1);
            continue;
        }
        const std::size_t bar = line.rfind('|');
        REQUIRE(bar != std::string::npos);
        std::string word = line.substr(0, bar);
        word.erase(word.find_last_not_of(' ') + 1);
        std::string expected = line.substr(bar + 2);
        INFO(line);
        const auto got = attempt([&] { return Expander(variables).expand(word).words; });
        std::string joined;
        for (const std::string& w : got.value_or(std::vector<std::string>{"error"}))
            joined += (joined.empty() ? "" : ",") + w;
        CHECK(joined == expected);
        ++rows;
    }
    CHECK(rows > 20);
}

TEST_CASE("ignore patterns match as recorded", "[recipe][ignore][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("dockerignore/match.jsonl"));
    const std::size_t rows = each_row("dockerignore/match.jsonl", [](const Json& row) {
        const auto got =
            attempt([&] { return IgnoreRules(row.strings("patterns")).ignores(row["path"].as_string()); });
        INFO(row.dump());
        REQUIRE(got.has_value() == row.contains("match"));
        if (got) CHECK(*got == row["match"].as_bool());
    });
    CHECK(rows == 1274);
}

TEST_CASE("copy wildcards match as recorded", "[recipe][wildcard][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("dockerignore/filepath_match.jsonl"));
    const std::size_t rows = each_row("dockerignore/filepath_match.jsonl", [](const Json& row) {
        const std::string pattern = row["pattern"].as_string();
        const std::string path = row["path"].as_string();
        // The rows of the ignore matcher's own suite are its answers, in which a pattern takes in what lies
        // below.
        const bool by_ignore_matcher = row.string_or("src").starts_with("moby/patternmatcher");
        const auto got = attempt([&] {
            return by_ignore_matcher ? IgnoreRules({pattern}).ignores(path) : wildcard_match(pattern, path);
        });
        INFO(row.dump());
        REQUIRE(got.has_value() == !row.bool_or("error", false));
        if (got) CHECK(*got == row["match"].as_bool());
    });
    CHECK(rows == 632);
}

TEST_CASE("ignore files read as recorded", "[recipe][ignore][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("dockerignore/ignorefile.jsonl"));
    const std::size_t rows = each_row("dockerignore/ignorefile.jsonl", [](const Json& row) {
        CHECK(parse_ignore_file(row["content"].as_string()) == row.strings("expect"));
    });
    CHECK(rows == 9);
}

TEST_CASE("modes change as recorded", "[recipe][mode][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("chmod/symbolic.jsonl"));
    const std::size_t rows = each_row("chmod/symbolic.jsonl", [](const Json& row) {
        const auto original = static_cast<std::uint32_t>(std::stoul(row["orig"].as_string(), nullptr, 8));
        const auto got = attempt(
            [&] { return ModeChange(row["mode"].as_string()).apply(original, row["is_dir"].as_bool()); });
        INFO(row.dump());
        REQUIRE(got.has_value() == row["expect"].contains("result"));
        if (got) CHECK(*got == std::stoul(row["expect"]["result"].as_string(), nullptr, 8));
    });
    CHECK(rows == 172);
}

TEST_CASE("ports, working directories and sizes read as recorded", "[recipe][recorded]") {
    SURCOAT_REQUIRE_OR_SKIP(no_recorded("expose/ports.jsonl"));
    std::size_t rows = each_row("expose/ports.jsonl", [](const Json& row) {
        const auto got = attempt([&] { return parse_ports(row["spec"].as_string()); });
        INFO(row.dump());
        REQUIRE(got.has_value() == row.contains("expect"));
        if (got) CHECK(*got == row.strings("expect"));
    });
    rows += each_row("path/normalize_workdir.jsonl", [](const Json& row) {
        INFO(row.dump());
        CHECK(normalize_workdir(row["currentWorkdir"].as_string(), row["newWorkDir"].as_string()) ==
              row["desiredResult"].as_string());
    });
    rows += each_row("parser/ram_in_bytes.jsonl", [](const Json& row) {
        const auto got = attempt([&] { return parse_size(row["value"].as_string()); });
        INFO(row.dump());
        REQUIRE(got.has_value() == row["expect"].contains("bytes"));
        if (got) CHECK(*got == row["expect"]["bytes"].as_size());
    });
    rows += each_row("parser/syntax_directive.jsonl", [](const Json& row) {
        const auto got = detect_syntax(row["dockerfile"].as_string());
        INFO(row.dump());
        REQUIRE(got.has_value() == row["expect"]["ok"].as_bool());
        if (!got) return;
        CHECK(got->reference == row["expect"]["ref"].as_string());
        CHECK(got->command_line == row["expect"]["cmdline"].as_string());
    });
    CHECK(rows == 8 + 6 + 17 + 21);
}
