#include "overlay/library_layers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "layers/base/file.h"
#include "overlay/namespaces.h"
#include "overlay/origins.h"
#include "overlay/probe.h"
#include "overlay/upper.h"

namespace surcoat::overlay {
namespace {

std::shared_ptr<const UniqueFd> shared(UniqueFd fd) { return std::make_shared<const UniqueFd>(std::move(fd)); }

std::optional<struct stat> stat_at(int directory, const std::string& name) {
    struct stat st {};
    if (::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return st;
    if (errno == ENOENT) return std::nullopt;
    throw_errno(fmt::format("look at '{}' in a layer", name));
}

std::string joined(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
}

}  // namespace

std::string MergedDirectory::path() const { return parent ? joined(parent->path(), name) : std::string(); }

LayerStack::LayerStack(Store& store, const LowerStack& lowers, const std::optional<UpperLayer>& upper)
    : store_(store), space_(upper_namespace()), tree_(store.tree(lowers.layers)) {
    root_ = std::make_shared<MergedDirectory>();
    if (upper) root_->parts.push_back({0, shared(open_file(upper->upper, O_RDONLY | O_DIRECTORY)), nullptr});
    std::size_t level = 0;
    for (const auto& frozen : lowers.frozen_uppers) {
        root_->parts.push_back({++level, shared(open_file(frozen, O_RDONLY | O_DIRECTORY)), nullptr});
    }
    tree_level_ = level + 1;
    root_->parts.push_back({tree_level_, nullptr, &tree_->root()});
    if (upper && space_ == OverlayNamespace::trusted) read_index(upper->work / "index", lowers);
}

void LayerStack::read_index(const std::filesystem::path& index, const LowerStack& lowers) {
    auto directory = try_open_file(index, O_RDONLY | O_DIRECTORY);
    if (!directory) return;
    const auto names = list_directory(directory->get());
    if (names.empty()) return;
    const auto origin = origins_of(*tree_, lowers.layers);
    for (const std::string& name : names) {
        const auto st = stat_at(directory->get(), name);
        const auto handle = index_handle(name);
        if (!st || !handle || S_ISDIR(st->st_mode) || is_overlay_whiteout(*st)) continue;
        if (const auto inode = origin(*handle)) indexed_.emplace(inode.get(), name);
    }
    index_ = shared(std::move(*directory));
}

bool LayerStack::is_whiteout(int directory, const std::string& name, const struct stat& st) const {
    if (is_overlay_whiteout(st)) return true;
    // The other form, for file systems and namespaces where the device cannot be made (Linux 6.7).
    return S_ISREG(st.st_mode) && st.st_size == 0 && read_xattr_at(directory, name, mark("whiteout").c_str()).has_value();
}

Found LayerStack::from_tree(const Tree::Node& node, std::size_t level) const {
    Found found;
    found.level = level;
    if (const auto changed = indexed_.find(node.inode.get()); changed != indexed_.end()) {
        const auto st = stat_at(index_->get(), changed->second);
        if (st) {
            found.level = 0;
            found.holder = index_;
            found.name = changed->second;
            found.st = *st;
            found.indexed = true;
            if (S_ISREG(st->st_mode) && read_xattr_at(index_->get(), found.name, mark("metacopy").c_str())) {
                auto below = std::make_shared<Found>();
                below->level = level;
                below->node = &node;
                found.content = std::move(below);
            }
            return found;
        }
    }
    found.node = &node;
    return found;
}

Found LayerStack::from_disk(const std::shared_ptr<MergedDirectory>& directory, const DirectoryPart& part,
                            const std::string& name, const struct stat& st) const {
    Found found;
    found.level = part.level;
    found.holder = part.fd;
    found.name = name;
    found.st = st;
    if (S_ISREG(st.st_mode) && read_xattr_at(part.fd->get(), name, mark("metacopy").c_str())) {
        found.content = content_below(directory, name, read_xattr_at(part.fd->get(), name, mark("redirect").c_str()), part.level);
    }
    return found;
}

std::shared_ptr<const Found> LayerStack::content_below(const std::shared_ptr<MergedDirectory>& directory,
                                                       const std::string& name, const std::optional<std::string>& redirect,
                                                       std::size_t level) const {
    auto below = !redirect                   ? lookup(directory, name, level + 1)
                 : redirect->starts_with('/') ? lookup_path(redirect->substr(1), level + 1)
                                              : lookup(directory, *redirect, level + 1);
    if (!below || below->is_directory()) {
        throw Error(Errc::corrupt, fmt::format("the content of '{}' should lie in a lower layer{}, but is not there",
                                               joined(directory->path(), name), redirect ? " at '" + *redirect + "'" : ""))
            .hint("run `surcoat fsck`; the container's upper may belong to another image");
    }
    while (below->content) below = *below->content;
    return std::make_shared<const Found>(std::move(*below));
}

std::optional<Found> LayerStack::lookup(const std::shared_ptr<MergedDirectory>& directory, const std::string& name,
                                        std::size_t first_level) const {
    std::shared_ptr<MergedDirectory> merged;  // a directory was found, and may go on further down
    std::string wanted = name;                // a redirect changes it for the layers below
    const auto begin = [&] {
        if (merged) return;
        merged = std::make_shared<MergedDirectory>();
        merged->parent = directory;
        merged->name = name;
        merged->lower_path = joined(directory->lower_path, name);
    };
    const auto result = [&]() -> std::optional<Found> {
        if (!merged) return std::nullopt;
        Found found;
        found.level = merged->parts.front().level;
        found.directory = merged;
        return found;
    };

    for (const DirectoryPart& part : directory->parts) {
        if (part.level < first_level) continue;
        if (part.node != nullptr) {
            const auto child = part.node->children.find(wanted);
            if (child == part.node->children.end()) continue;
            if (child->second.is_directory()) {
                begin();
                merged->parts.push_back({part.level, nullptr, &child->second});
            } else if (!merged) {
                return from_tree(child->second, part.level);
            }
            return result();
        }
        const auto st = stat_at(part.fd->get(), wanted);
        if (!st) continue;
        if (!S_ISDIR(st->st_mode)) {
            if (merged || is_whiteout(part.fd->get(), wanted, *st)) return result();
            return from_disk(directory, part, wanted, *st);
        }
        begin();
        auto fd = shared(open_file_at(part.fd->get(), wanted, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        const auto opaque = read_xattr_at(fd->get(), ".", mark("opaque").c_str());
        const auto redirect = read_xattr_at(fd->get(), ".", mark("redirect").c_str());
        merged->parts.push_back({part.level, std::move(fd), nullptr});
        if (opaque && *opaque == "y") return result();
        if (!redirect) continue;
        if (!redirect->starts_with('/')) {
            if (part.level == 0) merged->lower_path = joined(directory->lower_path, *redirect);
            wanted = *redirect;
            continue;
        }
        if (part.level == 0) merged->lower_path = redirect->substr(1);
        const auto below = lookup_path(redirect->substr(1), part.level + 1);
        if (below && below->is_directory()) {
            for (const DirectoryPart& more : below->directory->parts) merged->parts.push_back(more);
        }
        return result();
    }
    return result();
}

std::optional<Found> LayerStack::lookup_path(const std::string& path, std::size_t first_level) const {
    Found at;
    at.directory = root_;
    for (std::string_view rest = path; !rest.empty();) {
        const std::string component(rest.substr(0, rest.find('/')));
        rest.remove_prefix(std::min(rest.size(), component.size() + 1));
        if (component.empty()) continue;
        if (!at.is_directory()) return std::nullopt;
        auto next = lookup(at.directory, component, first_level);
        if (!next) return std::nullopt;
        at = std::move(*next);
    }
    return at;
}

std::vector<ViewEntry> LayerStack::list(const MergedDirectory& directory) const {
    std::map<std::string, std::optional<FileType>> names;  // no type: hidden here and below
    for (const DirectoryPart& part : directory.parts) {
        if (part.node != nullptr) {
            for (const auto& child : part.node->children) names.emplace(child.first, child.second.inode->type);
            continue;
        }
        for (const std::string& name : list_directory(part.fd->get())) {
            if (names.contains(name)) continue;
            const auto st = stat_at(part.fd->get(), name);
            if (!st) continue;
            const bool gone = is_whiteout(part.fd->get(), name, *st);
            names.emplace(name, gone ? std::nullopt : file_type(st->st_mode));
        }
    }
    std::vector<ViewEntry> entries;
    for (auto& entry : names) {
        if (entry.second) entries.push_back({entry.first, *entry.second});
    }
    return entries;
}

std::uint32_t owner_in_view(std::uint32_t id, std::uint32_t own) {
    return current_privilege() == Privilege::none && id == own ? 0 : id;
}

bool LayerStack::is_socket(const Found& found) const {
    return !found.is_directory() && found.node == nullptr && S_ISSOCK(found.st.st_mode);
}

Inode LayerStack::inode(const Found& found) const {
    const DirectoryPart* part = found.is_directory() ? &found.directory->parts.front() : nullptr;
    const Tree::Node* node = part != nullptr ? part->node : found.node;
    if (node != nullptr) {
        Inode inode = *node->inode;
        inode.object.reset();
        return inode;
    }
    auto inode = part != nullptr ? inode_at(part->fd->get(), ".") : inode_at(found.holder->get(), found.name);
    if (!inode) throw Error(Errc::not_found, fmt::format("'{}' is a socket, or was removed meanwhile", found.name));
    inode->uid = owner_in_view(inode->uid, ::geteuid());
    inode->gid = owner_in_view(inode->gid, ::getegid());
    return std::move(*inode);
}

UniqueFd LayerStack::open_content(const Found& found) const {
    const Found& holder = found.content ? *found.content : found;
    if (holder.node == nullptr) return open_file_at(holder.holder->get(), holder.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (holder.node->inode->object) return store_.open_object(*holder.node->inode->object);
    // An empty file has no object. An anonymous one, read-only, is as good.
    const UniqueFd empty(::memfd_create("empty", MFD_CLOEXEC));
    if (!empty) throw_errno("make an empty file");
    return open_file(fmt::format("/proc/self/fd/{}", empty.get()), O_RDONLY);
}

bool LayerStack::has_other_names(const Found& found) const {
    if (found.is_directory() || found.level == 0) return false;
    if (found.node == nullptr) return found.st.st_nlink > 1;
    if (!name_counts_) {
        name_counts_.emplace();
        tree_->walk([&](const std::string&, const Tree::Node& node) {
            if (!node.is_directory()) ++(*name_counts_)[node.inode.get()];
        });
        std::erase_if(*name_counts_, [](const auto& count) { return count.second < 2; });
    }
    return name_counts_->contains(found.node->inode.get());
}

bool LayerStack::same_lower_file(const Found& a, const Found& b) const {
    if (a.is_directory() || b.is_directory() || a.level != b.level) return false;
    if (a.node != nullptr) return b.node != nullptr && a.node->inode == b.node->inode;
    return b.node == nullptr && a.st.st_dev == b.st.st_dev && a.st.st_ino == b.st.st_ino;
}

void LayerStack::each_name_of(const Found& found, const std::function<void(const std::shared_ptr<MergedDirectory>&,
                                                                           const std::string&)>& visit) const {
    visit_names(root_, found, visit);
}

void LayerStack::visit_names(const std::shared_ptr<MergedDirectory>& directory, const Found& wanted,
                             const std::function<void(const std::shared_ptr<MergedDirectory>&, const std::string&)>& visit) const {
    if (wanted.node != nullptr && directory->parts.size() == 1 && directory->parts.front().node != nullptr) {
        // Nothing but the tree from here on: in memory, without a call for each name.
        for (const auto& child : directory->parts.front().node->children) {
            if (!child.second.is_directory()) {
                if (child.second.inode == wanted.node->inode) visit(directory, child.first);
                continue;
            }
            auto sub = lookup(directory, child.first);
            if (sub && sub->is_directory()) visit_names(sub->directory, wanted, visit);
        }
        return;
    }
    for (const ViewEntry& entry : list(*directory)) {
        const auto sub = lookup(directory, entry.name);
        if (!sub) continue;
        if (sub->is_directory()) {
            visit_names(sub->directory, wanted, visit);
        } else if (same_lower_file(*sub, wanted)) {
            visit(directory, entry.name);
        }
    }
}

}  // namespace surcoat::overlay
