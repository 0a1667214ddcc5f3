// The language by example; what the recorded tables say at length (recorded_*_test.cc), for where they are
// absent.
#include <catch2/catch.hpp>

#include "layers/recipe/command.h"
#include "layers/recipe/expand.h"
#include "layers/recipe/ignore.h"
#include "layers/recipe/lexer.h"
#include "layers/recipe/mode.h"
#include "layers/recipe/mount.h"
#include "layers/recipe/parse.h"
#include "layers/recipe/path.h"
#include "layers/recipe/port.h"
#include "layers/recipe/quantity.h"
#include "layers/recipe/wildcard.h"

using namespace surcoat;
using namespace surcoat::recipe;
using Words = std::vector<std::string>;

namespace {

std::string dump(const std::string& text) {
    return lex(Source("Dockerfile", text)).dump();
}

std::string expanded(const std::string& word) {
    static const Expander expander({{"V", "value"}, {"E", ""}, {"P", "/usr/local/bin"}});
    try {
        return expander.text(word);
    } catch (const Error& e) {
        CHECK_FALSE(e.hint().empty());
        return "error: " + e.message();
    }
}

template <typename T>
T only_step(const std::string& text) {
    const Recipe recipe = parse("FROM a\n" + text + "\n");
    REQUIRE(recipe.stages.at(0).steps.size() == 1);
    return std::get<T>(recipe.stages[0].steps[0].what);
}

}  // namespace

TEST_CASE("lines become instructions", "[recipe][lexer]") {
    struct Case {
        std::string text;
        std::string dump;
    };
    const std::vector<Case> cases = {
        {"RUN a \\\n  b\\\nc\n", R"((run "a   bc"))"},
        {"RUN a \\  \n# gone\n\n b\n", R"((run "a  b"))"},
        {"RUN a \\\\\nRUN b", "(run \"a \\\\\\\\\")\n(run \"b\")"},
        {"# escape=`\nRUN a`\nb\nRUN c\\", "(run \"ab\")\n(run \"c\\\\\")"},
        {"RUN a \\", R"((run "a"))"},
        {"run echo # no comment\r\n", R"((run "echo # no comment"))"},
        {"COPY --from=x --chown='a b' -- --y z", R"((copy ["--from=x" "--chown=a b"] "--y" "z"))"},
        {R"(CMD ["a", "b\u00e9"])", R"((cmd "a" "bé"))"},
        {"CMD ['a']", R"((cmd "['a']"))"},
        {R"(CMD ["a"] x)", R"((cmd "[\"a\"] x"))"},
        {R"(COPY "a b" c)", R"((copy "\"a" "b\"" "c"))"},
        {"ENV A b  c", R"((env "A" "b  c" ""))"},
        {R"(ENV A="x y" B=z\ w)", R"((env "A" "\"x y\"" "=" "B" "z\\ w" "="))"},
        {"ARG a b=1", R"((arg "a" "b=1"))"},
        {"HEALTHCHECK --retries=2 CMD [\"x\"]", R"((healthcheck ["--retries=2"] "CMD" "x"))"},
        {"ONBUILD COPY a b", R"((onbuild (copy "a" "b")))"},
        {"RUN cat <<A 3<<-'B'\nx\nA\n\ty\n\tB\nRUN z", "(run \"cat <<A 3<<-'B'\")\n(run \"z\")"},
        {R"(RUN ["<<EOF"])", R"((run "<<EOF"))"},
    };
    for (const Case& c : cases) {
        INFO(c.text);
        CHECK(dump(c.text) == c.dump);
    }
}

TEST_CASE("here-documents keep their text and say whether it expands", "[recipe][lexer][heredoc]") {
    const Ast ast = lex(Source("f", "RUN cat <<A 3<<-'B'\nx $y\r\nA\n\ty\n\tB\nUSER u\n"));
    const auto& heredocs = ast.instructions.at(0).heredocs;
    REQUIRE(heredocs.size() == 2);
    CHECK(heredocs[0].content == "x $y\r\n");
    CHECK(heredocs[0].expand);
    CHECK(heredocs[0].descriptor == 0);
    CHECK(heredocs[1].content == "\ty\n");
    CHECK_FALSE(heredocs[1].expand);
    CHECK(heredocs[1].strip_tabs);
    CHECK(heredocs[1].descriptor == 3);
    CHECK(ast.instructions[0].where.end == Position{5, 3});
    CHECK(ast.instructions.at(1).where.begin == Position{6, 1});
}

TEST_CASE("the script of a RUN with here-documents is what the shell is given", "[recipe][heredoc]") {
    CHECK(script_of(only_step<Run>("RUN echo hi").command).text == "echo hi");
    CHECK(script_of(only_step<Run>("RUN <<-EOF\n\techo a\n\tEOF").command).text == "echo a\n");
    const Script own =
        script_of(only_step<Run>("RUN <<run.py\n#!/usr/bin/python3\nprint(1)\nrun.py").command);
    CHECK(own.file_name == "run.py");
    CHECK(own.text == "#!/usr/bin/python3\nprint(1)\n");
    CHECK(script_of(only_step<Run>("RUN cat <<A <<B\n1\nA\n2\nB").command).text == "cat <<A <<B\n1\nA\n2\nB");
}

TEST_CASE("variables expand", "[recipe][expand]") {
    struct Case {
        std::string word;
        std::string result;
    };
    const std::vector<Case> cases = {
        {"a$V.b", "avalue.b"},
        {"${V}x$U-", "valuex-"},
        {"${U:-d}${E:-d}${E-d}${V:-d}", "ddvalue"},
        {"${U:+a}${E:+a}${E+a}${V:+a}", "aa"},
        {"${U:-${V}}", "value"},
        {"${P##*/} ${P%/*} ${P#*/} ${P%%/*}", "bin /usr/local usr/local/bin "},
        {"${P/\\//-} ${P//\\//-}", "-usr/local/bin -usr-local-bin"},
        {"'$V' \"$V\" \\$V", "$V value $V"},
        {"\"a\\\"b\\x\"", "a\"b\\x"},
        {"$", "$"},
        {"$1x", "x"},
        {"${U:?gone}", "error: variable 'U' is required: gone"},
        {"${E:?}", "error: variable 'E' must not be empty"},
        {"${U?}", "error: variable 'U' is not set"},
        {"${}", "error: '${}' has a substitution without a variable's name"},
        {"${V", "error: '${' in '${V' has no closing '}'"},
        {"${V:=x}", "error: ':=' is not a substitution that '${V:=x}' can use"},
        {"'x", "error: ''x' has an opening ' without the closing one"},
    };
    for (const Case& c : cases) {
        INFO(c.word);
        CHECK(expanded(c.word) == c.result);
    }
    std::string deep;
    for (int i = 0; i < 5000; ++i) deep += "${U:-";
    CHECK(expanded(deep).find("nested more than 200 deep") != std::string::npos);
}

TEST_CASE("expansion says which variables it used and which it missed", "[recipe][expand]") {
    const Expansion got = Expander(Expander::Variables{{"A", "x y"}}).expand("$A ${B:-c} \"$A\"");
    CHECK(got.text == "x y c x y");
    CHECK(got.words == Words{"x", "y", "c", "x y"});
    CHECK(got.used == std::set<std::string>{"A"});
    CHECK(got.missing == std::set<std::string>{"B"});
    CHECK(Expander(Expander::Variables{{"A", "1"}}).expand_body("'$A' \"\\$A\"\n").text == "'1' \"$A\"\n");
}

TEST_CASE("ignore rules: the last pattern that matches decides", "[recipe][ignore]") {
    struct Case {
        Words patterns;
        std::string path;
        bool ignored;
    };
    const std::vector<Case> cases = {
        {{"a"}, "a/b/c", true},
        {{"a"}, "b/a", false},
        {{"*.o"}, "x.o", true},
        {{"*.o"}, "d/x.o", false},
        {{"**/*.o"}, "d/e/x.o", true},
        {{"**/*.o"}, "x.o", true},
        {{"a/**"}, "a/b", true},
        {{"a/**"}, "a", false},
        {{"a/**/z"}, "a/z", true},
        {{"a/**/z"}, "a/b/c/z", true},
        {{"*", "!keep"}, "keep/x", false},
        {{"a", "!a/b"}, "a/b/c", false},
        {{"!a", "a"}, "a", true},
        {{"[a-c]?"}, "bx", true},
        {{"[^a]"}, "a", false},
        {{"é*"}, "éa", true},
        {{"./a/../b/"}, "b", true},
        {{}, "a", false},
    };
    for (const Case& c : cases) {
        INFO(c.path << " with " << (c.patterns.empty() ? "" : c.patterns[0]));
        CHECK(IgnoreRules(c.patterns).ignores(c.path) == c.ignored);
    }
    CHECK(IgnoreRules({"a", "!b"}).has_exceptions());
    CHECK_FALSE(IgnoreRules({"a"}).has_exceptions());
    CHECK(parse_ignore_file("\xef\xbb\xbf# c\r\n /a/ \n! b\n\n") == Words{"a", "!b"});
    try {
        IgnoreRules({"a", "b[c"});
        FAIL("accepted");
    } catch (const Error& e) {
        CHECK(e.message() == "the pattern 'b[c' has a character class that is not closed");
        CHECK_FALSE(e.hint().empty());
    }
}

TEST_CASE("wildcards match one path component at a time", "[recipe][wildcard]") {
    CHECK(wildcard_match("a*/?.txt", "abc/x.txt"));
    CHECK_FALSE(wildcard_match("a*", "a/b"));
    CHECK_FALSE(wildcard_match("**", "a/b"));
    CHECK(wildcard_match("*", ".hidden"));
    CHECK(wildcard_match("[a-c\\]]\\*", "]*"));
    CHECK(wildcard_match("?", "é"));
    CHECK_THROWS_AS(wildcard_match("a[", "zzz"), Error);
    CHECK_THROWS_AS(check_wildcard("a\\"), Error);
    CHECK(has_wildcard("a?"));
    CHECK_FALSE(has_wildcard("a.b/c"));
    // Patterns that cost others exponential time.
    CHECK_FALSE(
        wildcard_match(std::string(50, '*') + "b" + std::string(50, '*') + "c", std::string(2000, 'b')));
}

TEST_CASE("modes change as chmod does", "[recipe][mode]") {
    CHECK(ModeChange("4755").apply(0, false) == 04755);
    CHECK(ModeChange("4755").octal() == 04755U);
    CHECK(ModeChange("u=rwX,go=rX").apply(0600, false) == 0644);
    CHECK(ModeChange("u=rwX,go=rX").apply(0700, true) == 0755);
    CHECK(ModeChange("g=u,o-r").apply(0754, false) == 0770);
    CHECK_FALSE(ModeChange("a+x").octal().has_value());
    for (const char* bad : {"", "9", "10000", "755x", "u", "u+x,", "a+x g+w", "+q"}) {
        INFO(bad);
        CHECK_THROWS_AS(ModeChange(bad), Error);
    }
}

TEST_CASE("paths, ports, sizes and durations", "[recipe]") {
    CHECK(clean_path("") == ".");
    CHECK(clean_path("/../a//b/./c/..") == "/a/b");
    CHECK(clean_path("../../a/..") == "../..");
    CHECK(normalize_workdir("/a", "b/../c") == "/a/c");
    CHECK(normalize_workdir("/a", "/b/") == "/b");
    CHECK(normalize_workdir("", "") == "/");

    CHECK(parse_ports("80") == Words{"80/tcp"});
    CHECK(parse_ports("8000-8002/UDP") == Words{"8000/udp", "8001/udp", "8002/udp"});
    CHECK(parse_ports("127.0.0.1:8080:80/sctp") == Words{"80/sctp"});
    for (const char* bad : {"", "x", "65536", "9-8", "80/icmp", "1:2:3:80", "1-2:80-90"}) {
        INFO(bad);
        CHECK_THROWS_AS(parse_ports(bad), Error);
    }
    CHECK(parse_size("1.5g") == 1610612736);
    CHECK(parse_size("64 MiB") == 67108864);
    CHECK_THROWS_AS(parse_size("64x"), Error);
    CHECK_THROWS_AS(parse_size("1e400"), Error);

    using namespace std::chrono_literals;
    CHECK(parse_duration("1h30m") == 90min);
    CHECK(parse_duration("-1.5s") == -1500ms);
    CHECK(parse_duration("0") == 0ns);
    CHECK(parse_duration(".5ms1us") == 501us);
    for (const char* bad : {"", "5", "s", "1x", ".s", "1 s", "999999999h", "-"}) {
        INFO(bad);
        CHECK_THROWS_AS(parse_duration(bad), Error);
    }
}

TEST_CASE("mounts are read after their variables are known", "[recipe][mount]") {
    const Expander expander(Expander::Variables{{"D", "/cache"}});
    const auto expand = [&](std::string_view text) { return expander.text(text); };
    const Run run = only_step<Run>(
        R"(RUN --mount=type=cache,target=$D,sharing=locked,mode=0700 --mount=type=secret,id=k x)");
    REQUIRE(run.mounts.size() == 2);
    const Mount cache = parse_mount(run.mounts[0].text, expand);
    CHECK(cache.type == Mount::Type::cache);
    CHECK(cache.target == "/cache");
    CHECK(cache.sharing == Mount::Sharing::locked);
    CHECK(cache.mode == 0700U);
    CHECK_FALSE(cache.read_only);
    CHECK(parse_mount("target=/a,source=b", expand).read_only);
    CHECK(parse_mount("\"target=/a,b\"", expand).target == "/a,b");
    for (const char* bad : {"typ=bind", "type=bnid", "target", "rw=maybe", "uid=-1", "uid=1", "size=1m",
                            "type=secret", "\"target=/a", "type=tmpfs,size=x", "sharing=all"}) {
        INFO(bad);
        CHECK_THROWS_AS(parse_mount(bad, expand), Error);
    }
}

TEST_CASE("instructions become values", "[recipe][parse]") {
    const Recipe recipe = parse(
        "# syntax=x\n# V the version\nARG V=1 W\n# build compiles\nFROM --platform=$P base:$V AS Build\nRUN "
        "make\n"
        "from build\nCOPY --from=build --chown=u:g --chmod=755 a b /d/\n",
        "Surcoatfile");
    CHECK(recipe.file == "Surcoatfile");
    REQUIRE(recipe.args.size() == 2);
    CHECK(recipe.args[0].name.text == "V");
    CHECK(recipe.args[0].value->text == "1");
    CHECK(recipe.args[0].description == "the version");
    CHECK_FALSE(recipe.args[1].value.has_value());
    REQUIRE(recipe.stages.size() == 2);
    CHECK(recipe.stages[0].name == "build");
    CHECK(recipe.stages[0].base == "base:$V");
    CHECK(recipe.stages[0].platform == "$P");
    CHECK(recipe.stages[0].description == "compiles");
    CHECK(recipe.stages[0].at == Position{5, 1});
    CHECK(recipe.stages[1].name.empty());
    const Step& step = recipe.stages[1].steps.at(0);
    CHECK(step.original == "COPY --from=build --chown=u:g --chmod=755 a b /d/");
    const Copy& copy = std::get<Copy>(step.what);
    CHECK(copy.from->text == "build");
    CHECK(copy.chown->text == "u:g");
    CHECK(copy.chmod->text == "755");
    REQUIRE(copy.sources.size() == 2);
    CHECK(copy.sources[1].text == "b");
    CHECK(copy.sources[1].where == Span{{8, 45}, {8, 46}});
    CHECK(copy.destination.text == "/d/");

    CHECK(only_step<Env>("ENV a=1 b='x y'").pairs.at(1).value.text == "'x y'");
    CHECK(only_step<Env>("ENV a b  c").pairs.at(0).legacy);
    CHECK(only_step<Healthcheck>("HEALTHCHECK --interval=1m CMD curl x").test ==
          Words{"CMD-SHELL", "curl x"});
    CHECK(only_step<Healthcheck>("HEALTHCHECK NONE").test == Words{"NONE"});
    CHECK_FALSE(only_step<Cmd>(R"(CMD ["a", "b"])").command.shell);
    CHECK(only_step<OnBuild>("ONBUILD  RUN  x").instruction == "RUN  x");
    CHECK(std::get<Run>(parse_trigger("RUN x", "ONBUILD of base").what).command.words == Words{"x"});
    const Copy heredoc = only_step<Copy>("COPY f <<-'A.txt' /d/\n\t$x\n\tA.txt");
    CHECK(heredoc.files.at(0).name == "A.txt");
    CHECK(heredoc.files[0].content == "$x\n");
    CHECK_FALSE(heredoc.files[0].expand);
    CHECK(heredoc.sources.size() == 1);
}
