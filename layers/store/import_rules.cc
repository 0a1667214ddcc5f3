#include "layers/store/import_rules.h"

#include <fmt/format.h>

#include <utility>

#include "layers/base/error.h"
#include "layers/whiteout.h"

namespace surcoat {
namespace {

constexpr std::string_view kOciWhiteoutPrefix = ".wh.";
constexpr std::string_view kAufsPrefix = ".wh..wh.";
constexpr std::string_view kOpaqueName = ".wh..wh..opq";

[[noreturn]] void refuse(const std::string& shown, std::string_view rule) {
    throw Error(Errc::invalid, fmt::format("member {}: {}", shown, rule));
}

/// What a component before the last says: AUFS' own directories (".wh..wh.plnk") are skipped with all that
/// is in them; nothing can lie beneath any other whiteout.
bool lies_in_aufs_directory(std::string_view path, const std::string& shown) {
    for (std::size_t at = 0;;) {
        const std::size_t slash = path.find('/', at);
        if (slash == std::string_view::npos) return false;
        const std::string_view name = path.substr(at, slash - at);
        if (name.substr(0, kAufsPrefix.size()) == kAufsPrefix && name != kOpaqueName) return true;
        if (name.substr(0, kOciWhiteoutPrefix.size()) == kOciWhiteoutPrefix) {
            refuse(shown, "lies beneath a whiteout");
        }
        at = slash + 1;
    }
}

std::string_view last_component(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

}  // namespace

ImportRules::ImportRules() {
    nodes_.emplace_back();
    nodes_[0].seen = Seen::implied_directory;
}

TocRecord& ImportRules::add(Toc& toc, const TarMember& member) {
    const std::string shown = quoted_path(member.path);
    TocRecord record;
    record.entry.path = doing(fmt::format("member {}", shown), [&] { return normalise_path(member.path); });
    if (lies_in_aufs_directory(record.entry.path, shown)) {
        record.archive_only = true;
    } else {
        OciWhiteout whiteout =
            doing(fmt::format("member {}", shown), [&] { return parse_oci_whiteout(record.entry.path); });
        if (whiteout.kind != OciWhiteout::Kind::none) {
            record.entry.path = std::move(whiteout.path);
            take_whiteout(toc, record, member, whiteout.kind == OciWhiteout::Kind::opaque);
        } else if (whiteout.path.empty() && !record.entry.path.empty()) {
            record.archive_only = true;
        } else if (member.is_hardlink) {
            take_hardlink(toc, record, member);
        } else {
            record.entry.inode = member.inode;
            if (record.entry.path.empty() && member.inode.type != FileType::directory) {
                refuse(shown, fmt::format("the root of a layer must be a directory, not a {}",
                                          to_string(member.inode.type)));
            }
            validate_entry(record.entry);
            place(toc, record);
        }
    }
    toc.records.push_back(std::move(record));
    return toc.records.back();
}

void ImportRules::take_whiteout(Toc& toc, TocRecord& record, const TarMember& member, bool opaque) {
    const std::string shown = quoted_path(member.path);
    if (member.is_hardlink || member.inode.type != FileType::regular || member.inode.size != 0) {
        refuse(shown, "a whiteout must be an empty regular file");
    }
    record.entry.kind = opaque ? Entry::Kind::opaque : Entry::Kind::whiteout;
    validate_entry(record.entry);
    Node& node = nodes_[node_of(record.entry.path, shown, Purpose::place)];
    std::size_t& index = opaque ? node.opaque_record : node.whiteout_record;
    if (index != kNoRecord) toc.records[index].archive_only = true;
    index = toc.records.size();
}

void ImportRules::take_hardlink(Toc& toc, TocRecord& record, const TarMember& member) {
    const std::string shown = quoted_path(member.path);
    record.entry.kind = Entry::Kind::hardlink;
    record.entry.target =
        doing(fmt::format("member {}: hardlink target {}", shown, quoted_path(member.link_name)),
              [&] { return normalise_path(member.link_name); });
    if (record.entry.path.empty()) refuse(shown, "the root of a layer must be a directory, not a hardlink");
    if (record.entry.target.empty()) refuse(shown, "is a hardlink to the root directory");
    if (record.entry.target == record.entry.path) refuse(shown, "is a hardlink to itself");
    if (last_component(record.entry.target).substr(0, kOciWhiteoutPrefix.size()) == kOciWhiteoutPrefix) {
        refuse(shown, fmt::format("is a hardlink to the whiteout {}", quoted_path(record.entry.target)));
    }
    validate_entry(record.entry);
    place(toc, record);
    // The target may lie in a lower layer, or later in the archive as some tools write it.
    const std::uint32_t target = node_of(record.entry.target, shown, Purpose::look);
    if (nodes_[target].seen == Seen::directory || nodes_[target].seen == Seen::implied_directory) {
        refuse(shown, fmt::format("is a hardlink to the directory {}", quoted_path(record.entry.target)));
    }
    nodes_[target].linked_to = true;
}

void ImportRules::place(Toc& toc, const TocRecord& record) {
    const Entry& entry = record.entry;
    const std::string shown = quoted_path(entry.path);
    Node& node = nodes_[node_of(entry.path, shown, Purpose::place)];
    Seen now = Seen::other;
    if (entry.kind == Entry::Kind::add && entry.inode.type == FileType::directory) now = Seen::directory;
    if (entry.kind == Entry::Kind::add && entry.inode.type == FileType::symlink) now = Seen::symlink;

    const bool was_directory = node.seen == Seen::directory || node.seen == Seen::implied_directory;
    if (now != Seen::directory && was_directory) {
        refuse(shown, node.has_children || node.seen == Seen::implied_directory
                          ? "replaces a directory that the same archive puts something into"
                          : "is given twice, first as a directory, then as something else");
    }
    if (node.seen == Seen::directory || node.seen == Seen::symlink || node.seen == Seen::other) {
        if (now == Seen::directory && !was_directory) {
            refuse(shown, "is given twice, first as something else, then as a directory");
        }
        if (now != Seen::directory && (node.has_children || node.linked_to)) {
            refuse(shown,
                   node.linked_to ? "is given twice, and linked to" : "is given twice, and written through");
        }
        toc.records[node.record].archive_only = true;
    } else if (now == Seen::directory && node.linked_to) {
        refuse(shown, "is a directory that a hardlink points to");
    }
    node.seen = now;
    node.record = toc.records.size();
}

void ImportRules::finish(const Toc& toc) const {
    // A target that came to be a directory only because something was put into it after the link was made.
    for (const TocRecord& record : toc.records) {
        if (record.archive_only || record.entry.kind != Entry::Kind::hardlink) continue;
        const Node* target = find(record.entry.target);
        if (target != nullptr &&
            (target->seen == Seen::directory || target->seen == Seen::implied_directory)) {
            refuse(quoted_path(record.entry.path),
                   fmt::format("is a hardlink to the directory {}", quoted_path(record.entry.target)));
        }
    }
}

std::uint32_t ImportRules::child(std::uint32_t parent, std::string_view name) {
    const auto found = children_.find(ChildKeyView{parent, name});
    if (found != children_.end()) return found->second;
    const auto id = static_cast<std::uint32_t>(nodes_.size());
    nodes_.emplace_back();
    children_.emplace(ChildKey{parent, std::string(name)}, id);
    return id;
}

std::uint32_t ImportRules::directory_of(std::string_view path, const std::string& shown, Purpose purpose) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) return 0;
    const std::string_view directory = path.substr(0, slash);
    if (directory == last_directory_ && nodes_[last_node_].seen != Seen::other) return last_node_;
    std::uint32_t at = 0;
    for (std::size_t begin = 0; begin <= directory.size();) {
        std::size_t end = directory.find('/', begin);
        if (end == std::string_view::npos) end = directory.size();
        at = child(at, directory.substr(begin, end - begin));
        // Beneath a symlink is fine: it is followed inside the root when the layer is applied.
        if (nodes_[at].seen == Seen::other) {
            refuse(shown, fmt::format("lies beneath {}, which is no directory",
                                      quoted_path(directory.substr(0, end))));
        }
        if (purpose == Purpose::place) {
            nodes_[at].has_children = true;
            if (nodes_[at].seen == Seen::nothing) nodes_[at].seen = Seen::implied_directory;
        }
        begin = end + 1;
    }
    if (purpose == Purpose::place) {
        last_directory_ = directory;
        last_node_ = at;
    }
    return at;
}

std::uint32_t ImportRules::node_of(std::string_view path, const std::string& shown, Purpose purpose) {
    if (path.empty()) return 0;
    return child(directory_of(path, shown, purpose), last_component(path));
}

const ImportRules::Node* ImportRules::find(std::string_view path) const {
    std::uint32_t at = 0;
    for (std::size_t begin = 0; begin <= path.size();) {
        std::size_t end = path.find('/', begin);
        if (end == std::string_view::npos) end = path.size();
        const auto found = children_.find(ChildKeyView{at, path.substr(begin, end - begin)});
        if (found == children_.end()) return nullptr;
        at = found->second;
        begin = end + 1;
    }
    return &nodes_[at];
}

}  // namespace surcoat
