// What a person sees who made a mistake in a recipe: the place, the line, a caret, and what to do.
#include <catch2/catch.hpp>

#include "layers/recipe/diagnostics.h"
#include "layers/recipe/parse.h"
#include "layers/recipe/supported.h"

using namespace surcoat;
using namespace surcoat::recipe;

namespace {

/// The error that reading and checking a recipe gives.
Error refusal(const std::string& text) {
    try {
        check_supported(parse(text));
    } catch (const Error& e) { return e; }
    FAIL("accepted: " << text);
    return {Errc::failed, ""};
}

}  // namespace

TEST_CASE("a misspelt instruction is shown with a caret and the right name", "[recipe][errors]") {
    const Error e = refusal("FROM a\nRUN true\n  COPPY a b\n");
    CHECK(e.message() ==
          "Dockerfile:3:3: unknown instruction 'COPPY' (did you mean 'COPY'?)\n"
          "   3 |   COPPY a b\n"
          "     |   ^~~~~");
    CHECK(e.code() == Errc::invalid);
    CHECK(e.hint().find("the instructions are ADD ARG") == 0);
}

TEST_CASE("an error on a continued line points at that line", "[recipe][errors]") {
    const Error e = refusal("FROM a\nCOPY --chown=1:1 \\\n# why\n\n\t--frm=b x y\n");
    CHECK(e.message() ==
          "Dockerfile:5:2: unknown flag '--frm' of COPY (did you mean '--from'?)\n"
          "   5 | \t--frm=b x y\n"
          "     | \t^~~~~~~");
    CHECK(e.hint() == "COPY knows --from, --chown, --chmod, --link, --parents, --exclude");
}

TEST_CASE("columns count characters, so that the caret stands under the word", "[recipe][errors]") {
    const Error e = refusal(
        "\xef\xbb\xbf"
        "FROM a\r\nENV grün=\"für\" b\r\n");
    CHECK(e.message() ==
          "Dockerfile:2:16: 'b' in ENV has no '='\n"
          "   2 | ENV grün=\"für\" b\n"
          "     |                ^");
}

TEST_CASE("every mistake has a place, a message and a hint", "[recipe][errors]") {
    struct Case {
        std::string recipe;
        std::string message;  // without the caret
    };
    const std::vector<Case> cases = {
        {"", "Dockerfile: the recipe is empty"},
        {"# x\n\n", "Dockerfile:2:1: the recipe has no instructions"},
        {"ARG A=1\n", "Dockerfile: the recipe has no FROM"},
        {"RUN true\n", "Dockerfile:1:1: there is no stage yet for RUN"},
        {"FROM\n", "Dockerfile:1:1: FROM has no image"},
        {"FROM a as b c\n", "Dockerfile:1:8: FROM has 4 arguments"},
        {"FROM a AS 1st\n", "Dockerfile:1:11: '1st' cannot be the name of a stage"},
        {"# escape=x\nFROM a\n", "Dockerfile:1:10: the escape character cannot be 'x'"},
        {"# escape=`\n# escape=`\nFROM a\n",
         "Dockerfile:2:10: the directive 'escape' is given a second time, the first is on line 1"},
        {"FROM a\nENV A\n", "Dockerfile:2:5: ENV 'A' has no value"},
        {"FROM a\nENV =1\n", "Dockerfile:2:5: ENV has a '=' without a name before it"},
        {"FROM a\nENV --x A=1\n", "Dockerfile:2:5: unknown flag '--x' of ENV"},
        {"FROM a\nARG =1\n", "Dockerfile:2:5: ARG has a '=' without a name before it"},
        {"FROM a\nCMD [\"a\", 1]\n",
         "Dockerfile:2:5: the JSON form of an instruction is an array of strings only"},
        {"FROM a\nSHELL /bin/sh -c\n", "Dockerfile:2:7: SHELL is not in the JSON form"},
        {"FROM a\nSHELL []\n", "Dockerfile:2:1: SHELL has no argument"},
        {"FROM a\nUSER\n", "Dockerfile:2:1: USER has no argument"},
        {"FROM a\nVOLUME [\" \"]\n", "Dockerfile:2:9: VOLUME has an empty path"},
        {"FROM a\nCOPY a\n", "Dockerfile:2:6: COPY has a source but no destination"},
        {"FROM a\nCOPY --chown a b\n", "Dockerfile:2:6: flag '--chown' has no value"},
        {"FROM a\nCOPY --link=maybe a b\n", "Dockerfile:2:6: flag '--link' is 'maybe', not true or false"},
        {"FROM a\nCOPY --from=1 --from=2 a b\n", "Dockerfile:2:15: flag '--from' is given a second time"},
        {"FROM a\nCOPY a <<EOF\nEOF\n", "Dockerfile:2:8: the destination of COPY cannot be a here-document"},
        {"FROM a\nRUN <<EOF\ntrue\n", "Dockerfile:2:5: the here-document 'EOF' has no end"},
        {"FROM a\nRUN --network=hots true\n",
         "Dockerfile:2:5: unknown network mode 'hots' (did you mean 'host'?)"},
        {"FROM a\nRUN --security=off true\n", "Dockerfile:2:5: unknown security mode 'off'"},
        {"FROM a\nRUN --mount=from=$x,target=/y true\n",
         "Dockerfile:2:5: the mount option 'from' cannot have a variable, it is '$x'"},
        {"FROM a\nHEALTHCHECK NONE x\n", "Dockerfile:2:18: HEALTHCHECK NONE has an argument"},
        {"FROM a\nHEALTHCHECK CMD\n", "Dockerfile:2:13: HEALTHCHECK CMD has no command"},
        {"FROM a\nHEALTHCHECK NOEN\n",
         "Dockerfile:2:13: unknown kind of HEALTHCHECK 'NOEN' (did you mean 'NONE'?)"},
        {"FROM a\nHEALTHCHECK --interval=5 CMD x\n",
         "Dockerfile:2:13: --interval: '5' is not a duration: a unit is missing"},
        {"FROM a\nHEALTHCHECK --timeout=1us CMD x\n",
         "Dockerfile:2:13: --timeout is 1us, which is less than 1ms"},
        {"FROM a\nHEALTHCHECK --retries=-1 CMD x\n",
         "Dockerfile:2:13: --retries is '-1', not a number from 0 on"},
        {"FROM a\nONBUILD\n", "Dockerfile:2:1: ONBUILD has no argument"},
        {"FROM a\nONBUILD ONBUILD RUN x\n", "Dockerfile:2:9: ONBUILD cannot be the trigger of an ONBUILD"},
        {"FROM a\nONBUILD FROM b\n", "Dockerfile:2:9: FROM cannot be the trigger of an ONBUILD"},
        {"FROM a\n \\", "Dockerfile:2:2: there is an escape character but no instruction"},
        {"FROM --platform=a/b/c/d a\n", "Dockerfile:1:6: 'a/b/c/d' is not a platform"},
        {"FROM a\nRUN " + std::string(70000, 'x') + "\n",
         "Dockerfile:2:1: the line is 70005 bytes long, more than the language's 65535"},
    };
    for (const Case& c : cases) {
        const Error e = refusal(c.recipe);
        INFO(c.recipe.substr(0, 80));
        CHECK(e.message().substr(0, e.message().find('\n')) == c.message);
        CHECK(e.code() == Errc::invalid);
        CHECK_FALSE(e.hint().empty());
        // Whatever has a column also has a caret.
        CHECK((e.message().find("\n     | ") != std::string::npos) ==
              (c.message.find("Dockerfile: ") == std::string::npos));
    }
}

TEST_CASE("what the engine does not run is refused with its place, never ignored",
          "[recipe][errors][supported]") {
    struct Case {
        std::string step;
        std::string message;
    };
    const std::vector<Case> cases = {
        {"ADD a b", "2:1: ADD"},
        {"ONBUILD RUN true", "2:1: ONBUILD"},
        {"RUN --mount=type=cache,target=/x true", "2:5: RUN --mount"},
        {"RUN --network=none true", "2:1: RUN --network=none"},
        {"RUN --security=insecure true", "2:1: RUN --security=insecure"},
        {"RUN --device=x true", "2:5: RUN --device"},
        {"COPY --link a b", "2:1: COPY --link"},
        {"COPY --parents a b", "2:1: COPY --parents"},
        {"COPY --exclude=x a b", "2:6: COPY --exclude"},
        {"COPY <<EOF /x\nhi\nEOF", "2:6: COPY of a here-document"},
    };
    for (const Case& c : cases) {
        const Error e = refusal("FROM a\n" + c.step + "\n");
        CHECK(e.message().substr(0, e.message().find('\n')) ==
              "Dockerfile:" + c.message + " is not supported by this version");
        CHECK(e.code() == Errc::unsupported);
        CHECK_FALSE(e.hint().empty());
    }
    const std::string all = "ARG V=1\nFROM --platform=" + host_platform() +
                            " a:$V AS one\nARG X=1\nENV A=1\nLABEL l=1\nWORKDIR /w\nUSER u\n"
                            "COPY --from=0 --chown=1:2 --chmod=u=rw a b\nRUN --network=default true\nRUN "
                            "[\"true\"]\nRUN <<EOF\ntrue\nEOF\n"
                            "EXPOSE 80\nVOLUME /v\nENTRYPOINT a\nCMD [\"b\"]\nSHELL "
                            "[\"/bin/sh\"]\nSTOPSIGNAL INT\nHEALTHCHECK CMD x\n"
                            "MAINTAINER m\nFROM --platform=$TARGETPLATFORM one\n";
    CHECK_NOTHROW(check_supported(parse(all)));
    const std::string other = host_platform() == "linux/riscv64" ? "linux/amd64" : "linux/riscv64";
    CHECK(refusal("FROM --platform=" + other + " a\n")
              .message()
              .find("1:6: FROM --platform=" + other + " is not supported") != std::string::npos);
}

TEST_CASE("platforms have one spelling", "[recipe][supported]") {
    CHECK(normalize_platform("linux/x86_64") == "linux/amd64");
    CHECK(normalize_platform("LINUX/amd64") == "linux/amd64");
    CHECK(normalize_platform("amd64") == "linux/amd64");
    CHECK(normalize_platform("linux/aarch64") == "linux/arm64");
    CHECK(normalize_platform("linux/arm64/v8") == "linux/arm64");
    CHECK(normalize_platform("linux/arm") == "linux/arm/v7");
    CHECK(normalize_platform("linux/arm/6") == "linux/arm/v6");
    CHECK(normalize_platform("linux") == host_platform());
    CHECK_THROWS_AS(normalize_platform(""), Error);
    CHECK_THROWS_AS(normalize_platform("linux/"), Error);
}

TEST_CASE("a caret can be drawn into any text", "[recipe][errors]") {
    CHECK(render_caret("a: 1\nbcd: 2\n", {{2, 1}, {2, 4}}) == "   2 | bcd: 2\n     | ^~~");
    CHECK(render_caret("one\ntwo", {{1, 2}, {2, 3}}) == "   1 | one\n     |  ^~");
    CHECK(render_caret("one", {{1, 4}, {1, 4}}) == "   1 | one\n     |    ^");
    CHECK(render_caret("one", {{7, 1}, {7, 2}}).empty());
    CHECK(render_caret("one", {}).empty());
    CHECK(render_caret("\x1b[31m", {{1, 1}, {1, 2}}) == "   1 | ?[31m\n     | ^");
    const std::string far = std::string(200, 'a') + "X" + std::string(200, 'b');
    const std::string shown = render_caret(far, {{1, 201}, {1, 202}});
    CHECK(shown == "   1 | …" + std::string(40, 'a') + "X" + std::string(59, 'b') + "…\n     | " +
                       std::string(41, ' ') + "^");
}

TEST_CASE("an empty line inside an instruction is warned of, with its place", "[recipe][errors]") {
    const Recipe recipe = parse("FROM a\nRUN a \\\n\n  b\n", "Surcoatfile");
    REQUIRE(recipe.warnings.size() == 1);
    CHECK(render(recipe.source, recipe.warnings[0])
              .find("Surcoatfile:3:1: warning: empty line inside the RUN instruction of line 2 "
                    "[NoEmptyContinuation]") == 0);
}
