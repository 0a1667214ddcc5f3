#include "layers/recipe/parse.h"

#include "layers/recipe/characters.h"
#include "layers/recipe/instruction_parser.h"
#include "layers/recipe/lexer.h"

namespace surcoat::recipe {

Recipe parse(std::string text, std::string name) {
    Recipe recipe;
    recipe.file = name;
    recipe.source = Source(std::move(name), std::move(text));
    Ast ast = lex(recipe.source);
    recipe.escape = ast.escape;
    recipe.warnings = std::move(ast.warnings);
    for (const Instruction& instruction : ast.instructions) {
        if (ascii_upper(instruction.keyword) == "FROM") {
            recipe.stages.push_back(parse_from(recipe.source, instruction));
            continue;
        }
        Step step = parse_step(recipe.source, instruction);
        if (!recipe.stages.empty()) {
            recipe.stages.back().steps.push_back(std::move(step));
        } else if (Arg* arg = std::get_if<Arg>(&step.what)) {
            for (ArgVariable& variable : arg->variables) recipe.args.push_back(std::move(variable));
        } else {
            throw recipe.source
                .error(instruction.keyword_at,
                       "there is no stage yet for " + ascii_upper(instruction.keyword))
                .hint("only ARG may stand before the first FROM");
        }
    }
    return recipe;
}

Step parse_trigger(std::string text, std::string name) {
    const Source source(std::move(name), std::move(text));
    const Ast ast = lex(source);
    if (ast.instructions.size() != 1) {
        throw source.error(ast.instructions[1].where, "an ONBUILD trigger has a second instruction")
            .hint("rebuild the base image: its configuration is not one that a build writes");
    }
    return parse_step(source, ast.instructions[0]);
}

}  // namespace surcoat::recipe
