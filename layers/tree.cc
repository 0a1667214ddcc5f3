#include "layers/tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <unordered_set>
#include <utility>

#include "layers/base/error.h"

namespace surcoat {
namespace {

using Node = Tree::Node;

constexpr int kMaxLinks = 40;  // as Linux (MAXSYMLINKS)

[[noreturn]] void refuse(std::string_view path, std::string_view rule) {
    throw Error(Errc::invalid, fmt::format("'{}': {}", printable(path), rule));
}

const std::shared_ptr<const Inode>& default_directory() {
    static const auto inode = std::make_shared<const Inode>(Inode{.type = FileType::directory, .mode = 0755});
    return inode;
}

std::pair<std::string_view, std::string_view> split_last(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) return {{}, path};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

std::string_view next_component(std::string_view& rest) {
    const std::string_view component = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), component.size() + 1));
    return component;
}

/// A walk from the root with symlinks followed inside it: what a process chrooted there would reach.
class Walk {
  public:
    enum class Missing { stop, create };
    Walk(Node& root, Missing missing) : missing_(missing) { nodes_.push_back(&root); }

    /// False if a directory on the way does not exist.
    bool to(std::string_view path, bool follow_last) {
        push(path);
        int links = 0;
        while (!pending_.empty()) {
            const std::string component = std::move(pending_.back());
            pending_.pop_back();
            absent_.reset();
            if (component == "..") {
                if (nodes_.size() > 1) {
                    nodes_.pop_back();
                    names_.pop_back();
                }
                continue;
            }
            Node& directory = *nodes_.back();
            const bool last = pending_.empty();
            auto found = directory.children.find(component);
            if (found == directory.children.end()) {
                if (missing_ == Missing::stop) {
                    if (last) absent_ = component;
                    return last;
                }
                found = directory.children.emplace(component, Node{default_directory(), {}}).first;
            }
            const Inode& inode = *found->second.inode;
            if (inode.type == FileType::symlink && (!last || follow_last)) {
                if (++links > kMaxLinks)
                    refuse(path, fmt::format("more than {} symlinks on the way (a loop?)", kMaxLinks));
                if (inode.link_target.starts_with('/')) {
                    nodes_.resize(1);
                    names_.clear();
                }
                push(inode.link_target);
                continue;
            }
            if (inode.type != FileType::directory && !last) {
                if (missing_ == Missing::stop) return false;
                refuse(path, fmt::format("'{}' on the way is a {}, not a directory", printable(component),
                                         to_string(inode.type)));
            }
            nodes_.push_back(&found->second);
            names_.push_back(component);
        }
        return true;
    }
    Node* node() const { return absent_ ? nullptr : nodes_.back(); }
    std::string path() const {
        std::string joined;
        for (const auto& name : names_) {
            if (!joined.empty()) joined += '/';
            joined += name;
        }
        if (absent_) joined += (joined.empty() ? "" : "/") + *absent_;
        return joined;
    }

  private:
    void push(std::string_view path) {
        const std::size_t before = pending_.size();
        while (!path.empty()) {
            const std::string_view component = next_component(path);
            if (!component.empty() && component != ".") pending_.emplace_back(component);
        }
        std::reverse(pending_.begin() + static_cast<std::ptrdiff_t>(before), pending_.end());
    }

    Missing missing_;
    std::vector<Node*> nodes_;          // never empty; all but the last are directories
    std::vector<std::string> names_;    // of nodes_ behind the root
    std::vector<std::string> pending_;  // next one last
    std::optional<std::string> absent_;
};

void erase_child(Node& directory, std::map<std::string, Node, std::less<>>::iterator child) {
    Tree::dismantle(child->second);
    directory.children.erase(child);
}

/// Puts `inode` at `name`: attributes only when both are directories. True if something else was replaced.
bool place(Node& directory, std::string_view name, std::shared_ptr<const Inode> inode) {
    const auto found = directory.children.lower_bound(name);
    if (found == directory.children.end() || found->first != name) {
        directory.children.emplace_hint(found, std::string(name), Node{std::move(inode), {}});
        return false;
    }
    Node& node = found->second;
    const bool replaced = !node.is_directory() || inode->type != FileType::directory;
    if (replaced) Tree::dismantle(node);
    node.inode = std::move(inode);
    return replaced;
}

/// One layer being applied. The lower half of apply(): removals first, against the lower layers alone.
class LayerApplication {
  public:
    explicit LayerApplication(Node& root) : root_(root) {}

    void remove_lower(const Entry& entry) {
        if (!(entry.kind == Entry::Kind::opaque ? opaques_ : whiteouts_).insert(entry.path).second)
            duplicate(entry.path);
        Walk walk(root_, Walk::Missing::stop);
        if (entry.kind == Entry::Kind::opaque) {
            if (walk.to(entry.path, true) && walk.node() != nullptr) Tree::dismantle(*walk.node());
            return;
        }
        const auto [parent, name] = split_last(entry.path);
        if (name.empty()) refuse(entry.path, "a whiteout must name an entry, not the root");
        if (!walk.to(parent, true) || walk.node() == nullptr) return;
        const auto child = walk.node()->children.find(name);
        if (child != walk.node()->children.end()) erase_child(*walk.node(), child);
    }

    void add(const Entry& entry) {
        if (!added_.insert(entry.path).second) duplicate(entry.path);
        if (entry.path.empty()) {
            if (entry.kind != Entry::Kind::add || entry.inode.type != FileType::directory) {
                refuse("/", "the root must be a directory");
            }
            root_.inode = std::make_shared<const Inode>(entry.inode);
            return;
        }
        auto inode = entry.kind == Entry::Kind::hardlink ? link_target(entry)
                                                         : std::make_shared<const Inode>(entry.inode);
        const auto [parent, name] = split_last(entry.path);
        // What replaces something may have been on the remembered way.
        if (place(directory(entry.path, parent), name, std::move(inode))) remembered_ = nullptr;
    }

  private:
    [[noreturn]] static void duplicate(const std::string& path) {
        refuse(path, "is there twice; a layer must name each path once (OCI image-spec, layer.md)");
    }

    std::shared_ptr<const Inode> link_target(const Entry& entry) {
        Walk walk(root_, Walk::Missing::stop);
        if (!walk.to(entry.target, false) || walk.node() == nullptr) {
            refuse(entry.path,
                   fmt::format("is a hardlink to '{}', which does not exist", printable(entry.target)));
        }
        if (walk.node()->is_directory())
            refuse(entry.path, fmt::format("is a hardlink to the directory '{}'", printable(entry.target)));
        return walk.node()->inode;
    }

    /// The directory that the entry lies in, made when missing. Archives name siblings one after the other,
    /// so the last answer is mostly the next one: this is what keeps deep trees linear.
    Node& directory(std::string_view path, std::string_view parent) {
        if (remembered_ != nullptr && parent == remembered_path_) return *remembered_;
        Node* start = &root_;
        std::string_view rest = parent;
        if (remembered_ != nullptr && !remembered_path_.empty() && parent.size() > remembered_path_.size() &&
            parent[remembered_path_.size()] == '/' && parent.starts_with(remembered_path_)) {
            // One step further down, unless a symlink is next: that would need the names above.
            const std::string_view below = parent.substr(remembered_path_.size() + 1);
            const auto child = below.find('/') == below.npos ? remembered_->children.find(below)
                                                             : remembered_->children.end();
            if (child != remembered_->children.end() && child->second.is_directory()) {
                start = &child->second;
                rest = {};
            }
        }
        if (!rest.empty()) {
            Walk walk(root_, Walk::Missing::create);
            walk.to(parent, true);
            start = walk.node();
        }
        if (!start->is_directory()) {
            refuse(path, fmt::format("its parent is a {}, not a directory", to_string(start->inode->type)));
        }
        remembered_path_ = parent;
        remembered_ = start;
        return *start;
    }

    Node& root_;
    std::unordered_set<std::string_view> added_, whiteouts_, opaques_;
    std::string_view remembered_path_;
    Node* remembered_ = nullptr;
};

Node& existing_directory(Node& root, std::string_view path) {
    Node* node = &root;
    for (std::string_view rest = split_last(path).first; !rest.empty();) {
        const auto child = node->children.find(next_component(rest));
        if (child == node->children.end()) refuse(path, "its parent directory does not exist");
        node = &child->second;
        if (!node->is_directory())
            refuse(path, fmt::format("'{}' on the way is not a directory", printable(child->first)));
    }
    return *node;
}

}  // namespace

Tree::Tree() : root_{default_directory(), {}} {}

Tree::Tree(Node root) : root_(std::move(root)) {
    if (!root_.inode || !root_.is_directory()) refuse("/", "the root must be a directory");
}

Tree::Tree(const Tree& other) : root_(copy(other.root_)) {}

Tree& Tree::operator=(const Tree& other) {
    if (this != &other) *this = Tree(other);
    return *this;
}

Tree& Tree::operator=(Tree&& other) noexcept {
    std::swap(root_, other.root_);
    return *this;
}

Tree::~Tree() {
    dismantle(root_);
}

Tree::Node Tree::copy(const Node& node) {
    Node result{node.inode, {}};
    std::vector<std::pair<const Node*, Node*>> pending{{&node, &result}};
    while (!pending.empty()) {
        const auto [from, to] = pending.back();
        pending.pop_back();
        for (const auto& [name, child] : from->children) {
            const auto made = to->children.emplace_hint(to->children.end(), name, Node{child.inode, {}});
            if (!child.children.empty()) pending.emplace_back(&child, &made->second);
        }
    }
    return result;
}

void Tree::dismantle(Node& node) noexcept {
    // Moves each level's grandchildren up to where they are destroyed flat. The list may fail to grow when
    // memory is gone; then the compiler's own recursion does the rest.
    std::vector<decltype(node.children)> pending;
    try {
        pending.push_back(std::move(node.children));
        while (!pending.empty()) {
            auto level = std::move(pending.back());
            pending.pop_back();
            for (auto& [name, child] : level) {
                if (!child.children.empty()) pending.push_back(std::move(child.children));
            }
        }
    } catch (const std::bad_alloc&) {}
    node.children.clear();
}

void Tree::apply(std::span<const Entry> layer) {
    LayerApplication application(root_);
    for (const Entry& entry : layer) {
        if (entry.kind == Entry::Kind::whiteout || entry.kind == Entry::Kind::opaque)
            application.remove_lower(entry);
    }
    for (const Entry& entry : layer) {
        if (entry.kind == Entry::Kind::add || entry.kind == Entry::Kind::hardlink) application.add(entry);
    }
}

const Node* Tree::find(std::string_view path) const {
    const Node* node = &root_;
    while (!path.empty()) {
        const auto child = node->children.find(next_component(path));
        if (child == node->children.end()) return nullptr;
        node = &child->second;
    }
    return node;
}

std::optional<Tree::Resolved> Tree::resolve(std::string_view path, bool follow_last) const {
    // With Missing::stop nothing is changed.
    Walk walk(const_cast<Node&>(root_), Walk::Missing::stop);
    if (!walk.to(path, follow_last)) return std::nullopt;
    return Resolved{walk.path(), walk.node()};
}

void Tree::walk(const std::function<void(const std::string&, const Node&)>& visit) const {
    struct Level {
        std::map<std::string, Node, std::less<>>::const_iterator next, end;
        std::size_t path_size;
    };
    std::string path;
    std::vector<Level> levels{{root_.children.begin(), root_.children.end(), 0}};
    while (!levels.empty()) {
        Level& level = levels.back();
        path.resize(level.path_size);
        if (level.next == level.end) {
            levels.pop_back();
            continue;
        }
        const auto& [name, node] = *level.next++;
        if (!path.empty()) path += '/';
        path += name;
        visit(path, node);
        if (!node.children.empty())
            levels.push_back({node.children.begin(), node.children.end(), path.size()});
    }
}

std::uint64_t Tree::node_count() const {
    std::uint64_t count = 0;
    walk([&](const std::string&, const Node&) { ++count; });
    return count;
}

std::uint64_t Tree::visible_bytes() const {
    std::uint64_t total = 0;
    std::unordered_set<const Inode*> seen;
    walk([&](const std::string&, const Node& node) {
        if (node.inode->type == FileType::regular && seen.insert(node.inode.get()).second)
            total += node.inode->size;
    });
    return total;
}

void Tree::put(const std::string& path, std::shared_ptr<const Inode> inode) {
    if (path.empty()) {
        if (inode->type != FileType::directory) refuse("/", "the root must be a directory");
        root_.inode = std::move(inode);
        return;
    }
    place(existing_directory(root_, path), split_last(path).second, std::move(inode));
}

void Tree::remove(const std::string& path) {
    if (path.empty()) refuse("/", "the root cannot be removed");
    Node& parent = existing_directory(root_, path);
    const auto child = parent.children.find(split_last(path).second);
    if (child == parent.children.end()) refuse(path, "cannot be removed: it does not exist");
    erase_child(parent, child);
}

void Tree::link(const std::string& path, const std::string& target) {
    const Node* node = find(target);
    if (node == nullptr)
        refuse(path, fmt::format("cannot be linked to '{}', which does not exist", printable(target)));
    if (node->is_directory())
        refuse(path, fmt::format("cannot be linked to '{}', which is a directory", printable(target)));
    put(path, std::shared_ptr<const Inode>(node->inode));
}

}  // namespace surcoat
