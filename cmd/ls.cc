#include <fmt/format.h>

#include <ctime>

#include "cmd/output.h"
#include "cmd/place.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/base/bytes.h"
#include "overlay/union_view.h"

namespace surcoat::cmd {
namespace {

std::string mode_text(const Inode& inode) {
    std::string text;
    switch (inode.type) {
        case FileType::directory: text = "d"; break;
        case FileType::symlink: text = "l"; break;
        case FileType::char_device: text = "c"; break;
        case FileType::block_device: text = "b"; break;
        case FileType::fifo: text = "p"; break;
        case FileType::regular: text = "-"; break;
    }
    for (int shift = 6; shift >= 0; shift -= 3) {
        const unsigned bits = inode.mode >> shift & 7U;
        const bool special = shift == 6 ? (inode.mode & 04000) != 0 : shift == 3 ? (inode.mode & 02000) != 0 : (inode.mode & 01000) != 0;
        const char on = shift == 0 ? 't' : 's';
        text += (bits & 4) != 0 ? 'r' : '-';
        text += (bits & 2) != 0 ? 'w' : '-';
        text += special ? ((bits & 1) != 0 ? on : static_cast<char>(on - 32)) : (bits & 1) != 0 ? 'x' : '-';
    }
    return text;
}

std::string time_text(const Timestamp& time) {
    const std::time_t seconds = time.seconds;
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    char buffer[32];
    const std::size_t n = std::strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M", &parts);
    return {buffer, n};
}

Place place_of(const std::string& text, const char* verb) {
    // "shop:1" is a name with a tag; without ":/" the root is meant.
    Place place = text.find(":/") == std::string::npos ? Place{text, "/"} : parse_place(text);
    if (!place.name) throw Error(Errc::invalid, fmt::format("{}: '{}' is a path of this host", verb, text));
    if (place.name->empty()) throw Error(Errc::invalid, fmt::format("{}: name a container or an image, and a path: NAME:/path", verb));
    return place;
}

void print_line(overlay::UnionView& view, const std::string& path, const std::string& shown, bool long_form, Table& table) {
    if (!long_form) {
        print(printable(shown) + "\n");
        return;
    }
    const auto inode = view.stat(path, false);
    if (!inode) return;
    std::string name = printable(shown);
    if (inode->type == FileType::symlink) name += " -> " + printable(inode->link_target);
    const bool device = inode->type == FileType::char_device || inode->type == FileType::block_device;
    table.row({mode_text(*inode), std::to_string(inode->uid), std::to_string(inode->gid),
               device ? fmt::format("{}, {}", inode->device_major, inode->device_minor) : std::to_string(inode->size), time_text(inode->mtime), name});
}

}  // namespace

Verb ls_verb() {
    struct Args {
        std::string place;
        bool long_form = false;
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "ls";
    verb.group = "Look";
    verb.synopsis = "ls [-l] CONTAINER|IMAGE[:/PATH]";
    verb.summary = "list files of a container or an image, without a mount";
    verb.examples = {{"surcoat ls -l shop:1:/app", "what the image has in /app"}};
    verb.declare = [args](Options& options) {
        options.flag("-l", args->long_form, "with modes, owners, sizes and times (UTC)");
        options.argument("PLACE", args->place, "container or image, then :/path");
    };
    verb.run = [args](Program& program) {
        const Place place = place_of(args->place, "ls");
        const auto view = program.view_of(*place.name, true);
        const auto inode = view->stat(place.path, !args->long_form || place.path.ends_with("/"));
        if (!inode) throw Error(Errc::not_found, fmt::format("'{}' has no '{}'", *place.name, printable(place.path)));
        Table table({"MODE", "UID", "GID", "SIZE", "MODIFIED", "NAME"}, {1, 2, 3});
        if (inode->type != FileType::directory) {
            print_line(*view, place.path, place.path, args->long_form, table);
        } else {
            for (const auto& entry : view->list(place.path)) print_line(*view, place.path + "/" + entry.name, entry.name, args->long_form, table);
        }
        if (args->long_form) table.print();
        return 0;
    };
    return verb;
}

Verb cat_verb() {
    auto places = std::make_shared<std::vector<std::string>>();
    Verb verb;
    verb.name = "cat";
    verb.group = "Look";
    verb.synopsis = "cat CONTAINER|IMAGE:/PATH…";
    verb.summary = "print files of a container or an image, without a mount";
    verb.declare = [places](Options& options) { options.arguments("PLACE", *places, "container or image, then :/path"); };
    verb.run = [places](Program& program) {
        for (const std::string& text : *places) {
            const Place place = place_of(text, "cat");
            const UniqueFd fd = program.view_of(*place.name, true)->open_read(place.path);
            FdSource source(fd.get());
            FdSink sink(1);
            copy_all(source, sink);
        }
        return 0;
    };
    return verb;
}

}  // namespace surcoat::cmd
