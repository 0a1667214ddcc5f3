#include "layers/build/copy.h"

#include <fmt/format.h>

#include <iterator>
#include <map>

#include "layers/base/suggest.h"
#include "layers/recipe/path.h"
#include "layers/recipe/wildcard.h"

namespace surcoat::build {
namespace {

std::string_view base_name(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string join(const std::string& directory, std::string_view name) {
    return directory.empty() ? std::string(name) : directory + "/" + std::string(name);
}

std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> parts;
    for (std::size_t at = 0; at <= path.size();) {
        const std::size_t slash = std::min(path.find('/', at), path.size());
        if (slash > at) parts.emplace_back(path.substr(at, slash - at));
        at = slash + 1;
    }
    return parts;
}

/// "/../a/./b/" → "a/b": sources cannot leave their root.
std::string source_path(const std::string& word) {
    std::string clean = recipe::clean_path("/" + word);
    return clean.substr(1);
}

// Component by component, because `*` does not match '/'; symlinked directories on the way are followed.
void match(const SourceTree& source, const std::vector<std::string>& pattern, std::size_t depth,
           const std::string& above, std::vector<Selected>& found) {
    const auto directory = source.tree->resolve(above, true);
    if (!directory || directory->node == nullptr || !directory->node->is_directory()) return;
    for (const auto& [name, node] : directory->node->children) {
        if (!recipe::wildcard_match(pattern[depth], name)) continue;
        const std::string path = join(directory->path, name);
        if (depth + 1 < pattern.size()) {
            match(source, pattern, depth + 1, path, found);
            continue;
        }
        const auto resolved = source.tree->resolve(path, true);
        if (!resolved || resolved->node == nullptr) {
            throw Error(
                Errc::not_found,
                fmt::format("\"/{}\": not found in {} (a symlink that leads nowhere)", path, source.name));
        }
        found.push_back({resolved->path, name, resolved->node});
    }
}

std::vector<std::string> names_near(const SourceTree& source, const std::string& path) {
    const std::size_t slash = path.rfind('/');
    const std::string above = slash == std::string::npos ? "" : path.substr(0, slash);
    std::vector<std::string> names;
    const auto directory = source.tree->resolve(above, true);
    if (directory && directory->node != nullptr) {
        for (const auto& child : directory->node->children) names.push_back("/" + join(above, child.first));
    }
    return names;
}

}  // namespace

std::vector<Selected> select_sources(const SourceTree& source, const std::vector<std::string>& words) {
    std::vector<Selected> all;
    for (const std::string& word : words) {
        const std::string path = source_path(word);
        if (recipe::has_wildcard(word)) {
            recipe::check_wildcard(word);
            match(source, split(path), 0, "", all);
            continue;
        }
        const auto resolved = source.tree->resolve(path, true);
        if (!resolved || resolved->node == nullptr) {
            throw Error(Errc::not_found, fmt::format("\"/{}\": not found in {}{}", path, source.name,
                                                     did_you_mean("/" + path, names_near(source, path))))
                .hint("the path is taken relative to " + source.name + "; an ignore file may leave it out");
        }
        all.push_back({resolved->path, std::string(base_name(path)), resolved->node});
    }
    return all;
}

namespace {

void hash_field(Hasher& hasher, std::string_view text) {
    const std::uint64_t size = text.size();
    hasher.update(std::as_bytes(std::span(&size, 1)));
    hasher.update(text);
}

void hash_node(Hasher& hasher, const SourceTree& source, const std::string& path, std::string_view name,
               const Tree::Node& node, std::map<const Inode*, std::string>& seen) {
    const Inode& inode = *node.inode;
    hash_field(hasher, name);
    hash_field(hasher, fmt::format("{} {:o} {} {}", to_string(inode.type), inode.mode, inode.device_major,
                                   inode.device_minor));
    if (source.keep_owner) hash_field(hasher, fmt::format("{} {}", inode.uid, inode.gid));
    hash_field(hasher, inode.link_target);
    for (const auto& [key, value] : inode.xattrs) {
        hash_field(hasher, key);
        hash_field(hasher, value);
    }
    if (inode.type == FileType::regular) {
        const auto [first, is_new] = seen.emplace(node.inode.get(), path);
        hash_field(hasher, is_new ? std::string() : first->second);  // hardlinks of one selection stay linked
        hash_field(hasher, inode.size == 0 ? std::string("empty") : source.object(path, inode).hex());
    }
    for (const auto& [child, below] : node.children)
        hash_node(hasher, source, join(path, child), child, below, seen);
    hash_field(hasher, "end");
}

}  // namespace

Digest fingerprint(const SourceTree& source, const std::vector<Selected>& selected) {
    Hasher hasher;
    std::map<const Inode*, std::string> seen;
    for (const Selected& one : selected) {
        // A directory's own name and attributes do not reach the image: only its contents do.
        if (one.node->is_directory()) {
            hash_field(hasher, "contents of a directory");
            for (const auto& [name, node] : one.node->children)
                hash_node(hasher, source, join(one.path, name), name, node, seen);
        } else {
            hash_node(hasher, source, one.path, one.name, *one.node, seen);
        }
    }
    return Digest::sha256(hasher.finish());
}

namespace {

constexpr int kMaxLinks = 40;  // as Linux counts them

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

/// Puts the components of `path` in front of those that are to come (the next one is the last).
void push_components(std::vector<std::string>& pending, std::string_view path) {
    std::vector<std::string> parts = split(path);
    pending.insert(pending.end(), std::make_move_iterator(parts.rbegin()),
                   std::make_move_iterator(parts.rend()));
}

/// Where a file that is copied to `path` goes: directories on the way are made by `make`, and symlinks are
/// followed, the last one too, even if it leads to what does not exist yet.
std::string file_destination(Tree& tree, const std::string& path,
                             const std::function<std::string(const std::string&)>& make) {
    std::string at = path;
    for (int links = 0; links <= kMaxLinks; ++links) {
        const std::string_view name = base_name(at);
        if (name.empty() || name == "." || name == "..") return make(at);
        const std::string above = make(parent_of(at));
        const std::string full = join(above, name);
        const Tree::Node* node = tree.find(full);
        if (node == nullptr || node->inode->type != FileType::symlink) return full;
        const std::string& target = node->inode->link_target;
        at = target.starts_with('/') ? target.substr(1) : join(above, target);
    }
    throw Error(Errc::invalid, fmt::format("cannot copy to '/{}': more than {} symlinks on the way (a loop?)",
                                           path, kMaxLinks));
}

}  // namespace

std::string make_directories(Tree& tree, const std::string& path, std::uint16_t mode, std::uint32_t uid,
                             std::uint32_t gid, Timestamp mtime) {
    std::string at;
    std::vector<std::string> pending;
    push_components(pending, path);
    for (int links = 0; !pending.empty();) {
        const std::string part = std::move(pending.back());
        pending.pop_back();
        if (part == ".") continue;
        if (part == "..") {
            at = parent_of(at);
            continue;
        }
        const std::string here = join(at, part);
        const Tree::Node* node = tree.find(here);
        if (node == nullptr) {
            Inode inode;
            inode.type = FileType::directory;
            inode.mode = mode;
            inode.uid = uid;
            inode.gid = gid;
            inode.mtime = mtime;
            tree.put(here, std::make_shared<const Inode>(std::move(inode)));
        } else if (node->inode->type == FileType::symlink) {
            // A symlink that leads nowhere has its target made.
            if (++links > kMaxLinks) {
                throw Error(
                    Errc::invalid,
                    fmt::format("cannot create directory '/{}': more than {} symlinks on the way (a loop?)",
                                path, kMaxLinks));
            }
            const std::string target = node->inode->link_target;
            if (target.starts_with('/')) at.clear();
            push_components(pending, target);
            continue;
        } else if (!node->is_directory()) {
            throw Error(Errc::invalid, fmt::format("cannot create directory '/{}': '/{}' is a {}", path, here,
                                                   to_string(node->inode->type)));
        }
        at = here;
    }
    return at;
}

namespace {

class Copier {
  public:
    Copier(Tree& target, const SourceTree& source, const CopyRequest& request, const StageContent& stage)
        : target_(target), source_(source), request_(request), stage_(stage) {}

    /// `to` exists as a directory; what is in it already keeps its own attributes only if it is `to` itself.
    void contents(const std::string& from, const Tree::Node& directory, const std::string& to) {
        for (const auto& [name, node] : directory.children) one(join(from, name), node, join(to, name));
    }

    void one(const std::string& from, const Tree::Node& node, const std::string& to) {
        const Tree::Node* there = target_.find(to);
        if (node.is_directory()) {
            if (there != nullptr && !there->is_directory()) {
                throw Error(Errc::invalid,
                            fmt::format("cannot copy directory '/{}' over '/{}', which is a {}", from, to,
                                        to_string(there->inode->type)));
            }
            target_.put(to, changed(*node.inode));
            contents(from, node, to);
            return;
        }
        if (there != nullptr && there->is_directory()) {
            throw Error(Errc::invalid, fmt::format("cannot copy '/{}' over the directory '/{}'", from, to));
        }
        // Removed first: a hardlink's other names keep the old content.
        if (there != nullptr) target_.remove(to);
        if (node.inode->type != FileType::regular) {
            target_.put(to, changed(*node.inode));
            return;
        }
        // Names of one file in the source become names of one file again.
        std::shared_ptr<const Inode>& copied = files_[node.inode.get()];
        if (!copied) {
            Inode inode = *changed(*node.inode);
            inode.object = stage_(from, *node.inode);
            copied = std::make_shared<const Inode>(std::move(inode));
        }
        target_.put(to, copied);
    }

  private:
    std::shared_ptr<const Inode> changed(const Inode& inode) const {
        Inode copy = inode;
        if (!source_.keep_owner) copy.uid = copy.gid = 0;
        if (request_.chown) std::tie(copy.uid, copy.gid) = *request_.chown;
        if (request_.chmod && inode.type != FileType::symlink) {
            copy.mode = static_cast<std::uint16_t>(
                request_.chmod->apply(inode.mode, inode.type == FileType::directory));
        }
        if (inode.type == FileType::directory) copy.mtime = request_.made_at;
        copy.mtime.nanoseconds = 0;
        return std::make_shared<const Inode>(std::move(copy));
    }

    Tree& target_;
    const SourceTree& source_;
    const CopyRequest& request_;
    const StageContent& stage_;
    std::map<const Inode*, std::shared_ptr<const Inode>> files_;
};

}  // namespace

void copy_into(Tree& target, const SourceTree& source, const std::vector<Selected>& selected,
               const CopyRequest& request, const StageContent& stage) {
    if (selected.empty()) return;
    const std::string& wanted = request.destination;
    const std::string absolute = wanted.empty()          ? request.working_dir
                                 : wanted.front() == '/' ? wanted
                                                         : request.working_dir + "/" + wanted;
    const std::string path = recipe::clean_path("/" + absolute).substr(1);
    const bool as_directory =
        wanted.empty() || wanted.back() == '/' || wanted == "." || wanted.ends_with("/.") || path.empty();
    const auto owner = request.chown.value_or(std::pair<std::uint32_t, std::uint32_t>(0, 0));
    // An octal --chmod also goes to the directories made on the way; a symbolic one does not.
    const auto made_mode =
        static_cast<std::uint16_t>(request.chmod && request.chmod->octal() ? *request.chmod->octal() : 0755U);
    const auto make = [&](const std::string& directory) {
        return make_directories(target, directory, made_mode, owner.first, owner.second, request.made_at);
    };
    Copier copier(target, source, request, stage);
    for (const Selected& one : selected) {
        if (one.node->is_directory()) {
            const std::string to = make(path);
            copier.contents(one.path, *one.node, to);
            continue;
        }
        if (as_directory) {
            copier.one(one.path, *one.node, join(make(path), one.name));
            continue;
        }
        std::string to = file_destination(target, path, make);
        const Tree::Node* there = target.find(to);
        if (there != nullptr && there->is_directory()) to = join(to, one.name);
        copier.one(one.path, *one.node, to);
    }
}

}  // namespace surcoat::build
