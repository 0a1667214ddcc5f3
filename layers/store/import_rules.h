#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "layers/tar.h"
#include "layers/toc.h"

namespace surcoat {

/// A member's name for messages: printable, cut when it is absurdly long, in quotes.
inline std::string quoted_path(std::string_view path) {
    return "'" + printable(path) + "'";
}

/// Turns the members of one layer's archive into entries, and refuses what a layer must not say, as far as
/// that shows without the layers below (OCI image-spec layer.md; the rest is Tree::apply's):
///  - paths with "..", names over 255 bytes, attributes and devices that would forge overlayfs' own marks
///    (validate_entry); a root that is no directory;
///  - whiteouts that are no empty regular files, or that hide nothing sensible; anything beneath one;
///  - anything beneath a file; a hardlink to a directory, to a whiteout, to itself;
///  - a path given twice as different things. As the same kind of thing it is legitimate in archives that
///    plain tar made (`tar -r`): the last one counts, the earlier stays in the toc as archive_only, except
///    that the first must not have been linked to in between.
/// Throws Errc::invalid or Errc::corrupt with the path and the rule. Linear in the archive's size.
class ImportRules {
  public:
    ImportRules();

    /// Appends the record of `member` to `toc`, without skeleton_bytes, extents and object, and returns it.
    TocRecord& add(Toc& toc, const TarMember& member);
    /// What can only be said at the end.
    void finish(const Toc& toc) const;

  private:
    enum class Seen : std::uint8_t { nothing, implied_directory, directory, symlink, other };
    static constexpr std::size_t kNoRecord = ~std::size_t{0};
    struct Node {
        Seen seen = Seen::nothing;
        bool has_children = false;
        bool linked_to = false;
        std::size_t record = 0;  ///< index in the toc, unless nothing or implied
        std::size_t whiteout_record = kNoRecord;
        std::size_t opaque_record = kNoRecord;
    };
    struct ChildKey {
        std::uint32_t parent;
        std::string name;
    };
    struct ChildKeyView {
        std::uint32_t parent;
        std::string_view name;
    };
    struct KeyHash {
        using is_transparent = void;
        std::size_t operator()(const ChildKeyView& key) const {
            return std::hash<std::string_view>()(key.name) ^ (std::size_t{key.parent} * 0x9E3779B97F4A7C15U);
        }
        std::size_t operator()(const ChildKey& key) const {
            return (*this)(ChildKeyView{key.parent, key.name});
        }
    };
    struct KeyEqual {
        using is_transparent = void;
        template <typename A, typename B>
        bool operator()(const A& a, const B& b) const {
            return a.parent == b.parent && a.name == b.name;
        }
    };
    std::uint32_t child(std::uint32_t parent, std::string_view name);
    enum class Purpose : std::uint8_t { place, look };
    std::uint32_t directory_of(std::string_view path, const std::string& shown, Purpose purpose);
    std::uint32_t node_of(std::string_view path, const std::string& shown, Purpose purpose);
    const Node* find(std::string_view path) const;

    void take_whiteout(Toc& toc, TocRecord& record, const TarMember& member, bool opaque);
    void take_hardlink(Toc& toc, TocRecord& record, const TarMember& member);
    void place(Toc& toc, const TocRecord& record);

    std::vector<Node> nodes_;
    std::unordered_map<ChildKey, std::uint32_t, KeyHash, KeyEqual> children_;
    // Archives list a directory's members together: the last directory is nearly always the next one.
    std::string last_directory_;
    std::uint32_t last_node_ = 0;
};

}  // namespace surcoat
