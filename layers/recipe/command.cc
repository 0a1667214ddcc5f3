#include "layers/recipe/command.h"

#include "layers/recipe/heredoc.h"

namespace surcoat::recipe {

Script script_of(const CommandLine& command) {
    Script out;
    if (!command.words.empty()) out.text = command.words[0];
    if (command.files.empty()) return out;
    if (!parse_heredoc(out.text)) {
        for (const InlineFile& file : command.files) out.text += "\n" + file.content + file.name;
        return out;
    }
    const InlineFile& body = command.files[0];
    if (body.content.starts_with("#!")) out.file_name = body.name;
    out.text = body.strip_tabs ? strip_leading_tabs(body.content) : body.content;
    return out;
}

}  // namespace surcoat::recipe
