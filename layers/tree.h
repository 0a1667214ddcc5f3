#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "layers/entry.h"

namespace surcoat {

/// A merged file tree in memory: metadata and object names, no contents. Layers are applied bottom first
/// with OCI's rules; what results is what a mounted view shows.
/// A value: copying copies the names and shares the inodes, which are immutable.
class Tree {
  public:
    struct Node {
        std::shared_ptr<const Inode> inode;
        /// In byte order of names. Empty unless a directory.
        std::map<std::string, Node, std::less<>> children;
        bool is_directory() const { return inode->type == FileType::directory; }
    };

    /// An empty root: directory 0755 0:0, mtime 0.
    Tree();
    /// A tree from its root, which must be a directory (Errc::invalid).
    explicit Tree(Node root);
    // Copying and destroying go level by level instead of by recursion: a path may have 4,096 levels, and a
    // thread's stack need not.
    Tree(const Tree& other);
    Tree& operator=(const Tree& other);
    Tree(Tree&&) noexcept = default;  ///< the moved-from tree may only be assigned to or destroyed
    Tree& operator=(Tree&& other) noexcept;
    ~Tree();

    /// Applies one layer's entries in order. Rules (image-spec layer.md; notes registry 1.6): an opaque
    /// mark and whiteouts act on lower layers only, whatever their order; missing parents are created 0755
    /// 0:0 with mtime 0; a directory over a directory replaces attributes and keeps children; anything else
    /// replaces what was there; a parent that is a symlink is followed inside the root; a hardlink's target
    /// may lie in a lower layer; a duplicate path is refused. Throws Errc::invalid naming the path and the
    /// rule; the tree is then in an unspecified but valid state.
    void apply(std::span<const Entry> layer);

    const Node& root() const { return root_; }
    /// No symlink is followed, path normalised. Null if absent.
    const Node* find(std::string_view path) const;

    struct Resolved {
        std::string path;  ///< normalised, all symlinks resolved
        const Node* node;  ///< null: the last component does not exist (its parent does)
    };
    /// Follows symlinks inside the root, as a process chrooted there would; `follow_last` as in stat/lstat.
    /// Throws Errc::invalid on a loop (over 40 links); nothing if a directory on the way is missing.
    std::optional<Resolved> resolve(std::string_view path, bool follow_last) const;

    /// Calls `visit(path, node)` for every node but the root, parents first, names in byte order.
    void walk(const std::function<void(const std::string&, const Node&)>& visit) const;
    /// Names, as walk() visits them: without the root.
    std::uint64_t node_count() const;
    /// Sum of sizes of regular files, each inode once.
    std::uint64_t visible_bytes() const;

    // Single changes, for the build engine and tests. Paths normalised, symlinks not followed, parents must
    // exist and be directories, what is removed or linked to must exist (Errc::invalid otherwise).
    void put(const std::string& path, std::shared_ptr<const Inode> inode);
    void remove(const std::string& path);
    void link(const std::string& path, const std::string& target);

    /// Copies a node with all that is beneath it, without recursion.
    static Node copy(const Node& node);
    /// Destroys what is beneath a node, without recursion.
    static void dismantle(Node& node) noexcept;

  private:
    Node root_;
};

/// Calls `visit` for the root ("") and every name of `after`, parents first, names in byte order, with what
/// `before` has at the same path, or null.
void walk_together(const Tree& before, const Tree& after,
                   const std::function<void(const std::string& path, const Tree::Node* before,
                                            const Tree::Node& after)>& visit);

/// The entries that turn `before` into `after`, in writing order (parents before children, whiteouts of a
/// directory first, byte order). A directory that differs only in mtime counts as unchanged unless
/// `directory_times`. The directories above a change are written again as they were (all but the root): other
/// tools unpack a layer alone and would invent 0755 root:root for a parent that it does not name.
/// A hardlink group that changed is written again as a whole.
std::vector<Entry> diff_trees(const Tree& before, const Tree& after, bool directory_times = false);

}  // namespace surcoat
