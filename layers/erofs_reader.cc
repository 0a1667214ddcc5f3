#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "layers/base/error.h"
#include "layers/erofs.h"
#include "layers/erofs_format.h"
#include "layers/whiteout.h"

// Whatever the bytes say, reading costs no more than a constant times their number: each directory is entered
// once (so there are no cycles), each inode is decoded once, and a budget of the image's own size stops
// images whose inodes or directories overlap, which would otherwise be read over and over.

namespace surcoat {
namespace {

using namespace erofs;
using Node = Tree::Node;

constexpr unsigned kMaxDepth = 4096;  // as normalise_path

struct Dismantler {
    Node& node;
    ~Dismantler() { Tree::dismantle(node); }
};

class Reader {
  public:
    Reader(ByteSpan image, const std::string& what)
        : image_(as_text(image)), what_(what), budget_(image.size()) {}

    Tree read() {
        Node root = read_node(superblock(), FileType::directory);
        const Dismantler whatever_happens{root};
        struct Waiting {
            Node* node;
            std::uint64_t nid, parent;
            unsigned depth;
        };
        std::vector<Waiting> waiting{{&root, root_nid_, root_nid_, 0}};
        std::string data;
        while (!waiting.empty()) {
            const Waiting self = waiting.back();
            waiting.pop_back();
            if (self.depth > kMaxDepth) corrupt(fmt::format("it has more than {} levels", kMaxDepth));
            data = contents(self.nid);
            for (const Dirent& entry : entries(data, self.nid, self.parent)) {
                Node child = read_node(entry.nid, entry.type);
                const bool directory = child.is_directory();
                const auto made =
                    self.node->children.emplace_hint(self.node->children.end(), entry.name, std::move(child));
                if (directory) waiting.push_back({&made->second, entry.nid, self.nid, self.depth + 1});
            }
        }
        check_links();
        return Tree(std::move(root));
    }

  private:
    struct Raw {
        std::uint16_t format;
        std::uint64_t size;
        std::uint32_t place;
        std::uint64_t payload;  // offset behind the attributes
    };
    struct Dirent {
        std::string_view name;
        std::uint64_t nid;
        FileType type;
    };
    struct Known {
        std::shared_ptr<const Inode> inode;
        Raw raw;
        std::uint32_t links = 0;
        std::uint32_t names = 0;
    };

    [[noreturn]] void corrupt(const std::string& why) const {
        throw Error(Errc::corrupt, fmt::format("{} is not a whole view: {}", what_, why))
            .hint("views are made again when they are missing: remove this file");
    }

    std::string_view bytes(std::uint64_t offset, std::uint64_t size) const {
        if (offset > image_.size() || size > image_.size() - offset) {
            corrupt(fmt::format("bytes {} to {} are needed, but there are {}", offset, offset + size,
                                image_.size()));
        }
        return image_.substr(offset, size);
    }
    void spend(std::uint64_t size) {
        if (size > budget_) corrupt("its parts overlap");
        budget_ -= size;
    }

    std::uint64_t superblock() {
        const std::string_view block = bytes(0, kBlock);
        const char* at = block.data() + kSuperOffset;
        if (get<std::uint32_t>(at) != kMagic) corrupt("it does not begin like an EROFS image");
        if (get<std::uint32_t>(at + 8) != kCompatible || get<std::uint32_t>(at + 80) != kIncompatible ||
            get<std::uint8_t>(at + 12) != kBlockBits || get<std::uint8_t>(at + 13) != 0 ||
            get<std::uint32_t>(at + 40) != 0) {
            corrupt("it uses features of EROFS that our views do not");
        }
        if (const auto want = get<std::uint32_t>(at + 4), have = checksum(block.data()); want != have) {
            corrupt(fmt::format("the superblock's checksum is {:08x}, expected {:08x}", have, want));
        }
        const std::uint64_t blocks = get<std::uint32_t>(at + 36);
        if (blocks * kBlock != image_.size()) {
            corrupt(fmt::format("it should have {} bytes and has {}", blocks * kBlock, image_.size()));
        }
        inode_count_ = get<std::uint64_t>(at + 16);
        root_nid_ = get<std::uint16_t>(at + 14);
        return root_nid_;
    }

    Node read_node(std::uint64_t nid, FileType type) {
        auto found = inodes_.find(nid);
        if (found == inodes_.end()) {
            found = inodes_.emplace(nid, read_inode(nid)).first;
        } else if (type == FileType::directory) {
            corrupt(fmt::format("directory {} has two parents", nid));
        }
        Known& known = found->second;
        ++known.names;
        if (known.inode->type != type) {
            corrupt(fmt::format("inode {} is a {}, but a directory calls it a {}", nid,
                                to_string(known.inode->type), to_string(type)));
        }
        return Node{known.inode, {}};
    }

    Known read_inode(std::uint64_t nid) {
        if (nid > image_.size() / kSlot) corrupt(fmt::format("there is no inode {}", nid));
        const std::uint64_t offset = nid * kSlot;
        const char* at = bytes(offset, kInodeSize).data();
        Known known;
        Raw& raw = known.raw;
        raw.format = get<std::uint16_t>(at);
        raw.size = get<std::uint64_t>(at + 8);
        raw.place = get<std::uint32_t>(at + 16);
        known.links = get<std::uint32_t>(at + 44);
        Inode inode;
        inode.type = type_of(get<std::uint16_t>(at + 4), nid);
        inode.mode = get<std::uint16_t>(at + 4) & 07777;
        inode.uid = get<std::uint32_t>(at + 24);
        inode.gid = get<std::uint32_t>(at + 28);
        inode.mtime.seconds = get<std::int64_t>(at + 32);
        inode.mtime.nanoseconds = get<std::uint32_t>(at + 40);
        if (inode.mtime.nanoseconds > 999'999'999)
            corrupt(fmt::format("inode {} has {} nanoseconds", nid, inode.mtime.nanoseconds));
        const std::uint64_t words = get<std::uint16_t>(at + 2);
        const std::uint64_t attributes = words == 0 ? 0 : kAttributesHeader + 4 * (words - 1);
        spend(kInodeSize + attributes);
        raw.payload = offset + kInodeSize + attributes;
        read_attributes(bytes(offset + kInodeSize, attributes), inode, nid);
        read_payload(raw, inode, nid);
        known.inode = std::make_shared<const Inode>(std::move(inode));
        return known;
    }

    FileType type_of(std::uint16_t mode, std::uint64_t nid) const {
        for (const FileType type : {FileType::regular, FileType::directory, FileType::symlink,
                                    FileType::char_device, FileType::block_device, FileType::fifo}) {
            if ((mode & 0170000) == mode_bits(type)) return type;
        }
        corrupt(fmt::format("inode {} has mode {:o}", nid, mode));
    }

    void read_attributes(std::string_view rest, Inode& inode, std::uint64_t nid) {
        if (rest.empty()) return;
        if (rest.substr(0, kAttributesHeader).find_first_not_of('\0') != rest.npos) {
            corrupt(fmt::format("inode {} has shared attributes", nid));
        }
        rest.remove_prefix(kAttributesHeader);
        bool metacopy = false;
        while (!rest.empty()) {
            const std::uint64_t name_size =
                rest.size() < kAttributeHeader ? 0 : get<std::uint8_t>(rest.data());
            const std::uint64_t value_size =
                rest.size() < kAttributeHeader ? 0 : get<std::uint16_t>(rest.data() + 2);
            const std::uint64_t total = round_up(kAttributeHeader + name_size + value_size, 4);
            if (total > rest.size()) corrupt(fmt::format("inode {} has an attribute beyond its end", nid));
            const auto* prefix =
                std::find_if(std::begin(kPrefixes), std::end(kPrefixes), [&](const AttributePrefix& known) {
                    return known.index == get<std::uint8_t>(rest.data() + 1);
                });
            if (prefix == std::end(kPrefixes))
                corrupt(fmt::format("inode {} has an attribute of unknown kind", nid));
            const std::string_view tail = rest.substr(kAttributeHeader, name_size);
            const std::string_view value = rest.substr(kAttributeHeader + name_size, value_size);
            rest.remove_prefix(total);
            if (prefix->text.ends_with('.') == tail.empty() || tail.find('\0') != tail.npos) {
                corrupt(fmt::format("inode {} has an attribute with a bad name", nid));
            }
            const std::string name = std::string(prefix->text) + std::string(tail);
            if (name == kMetacopy && value.empty() && !metacopy) {
                metacopy = true;
            } else if (name == kRedirect && metacopy && !inode.object) {
                inode.object = object_of(value, nid);
            } else if (is_overlay_xattr(name)) {
                corrupt(
                    fmt::format("inode {} has the attribute '{}', which our views never carry", nid, name));
            } else {
                inode.xattrs.emplace_back(name, value);
            }
        }
        if (metacopy != inode.object.has_value()) corrupt(fmt::format("inode {} names no object", nid));
        for (std::size_t i = 1; i < inode.xattrs.size(); ++i) {
            if (inode.xattrs[i - 1].first >= inode.xattrs[i].first)
                corrupt(fmt::format("inode {} has its attributes out of order", nid));
        }
    }

    ObjectId object_of(std::string_view redirect, std::uint64_t nid) const {
        const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
        if (redirect.size() != 66 || redirect[0] != '/' || redirect[3] != '/') {
            corrupt(fmt::format("inode {} points to something that is not an object", nid));
        }
        const std::string name = std::string(redirect.substr(1, 2)) + std::string(redirect.substr(4));
        if (!std::all_of(name.begin(), name.end(), hex)) {
            corrupt(fmt::format("inode {} points to something that is not an object", nid));
        }
        return ObjectId::parse_hex(name);
    }

    void read_payload(const Raw& raw, Inode& inode, std::uint64_t nid) {
        const auto require = [&](bool holds, const char* why) {
            if (!holds) corrupt(fmt::format("inode {}: {}", nid, why));
        };
        require(inode.object.has_value() == (inode.type == FileType::regular && raw.size != 0),
                "an object must be named by files that have content, and only by them");
        const bool blocks = raw.format == kPlain || raw.format == kInline;
        switch (inode.type) {
            case FileType::regular:
                inode.size = raw.size;
                if (raw.size == 0) {
                    require(raw.format == kPlain, "an empty file has data");
                    break;
                }
                require(raw.size <= 0x7FFFFFFFFFFFFFFF, "a file is larger than files can be");
                require(raw.format == kChunks && raw.place == chunk_bits(raw.size),
                        "a file's data must be one hole");
                require(chunk_count(raw.size) <= image_.size(),
                        "a file's chunk table is larger than the image");
                spend(4 * chunk_count(raw.size));
                require(bytes(raw.payload, 4 * chunk_count(raw.size)).find_first_not_of('\xFF') ==
                            std::string_view::npos,
                        "a file's data must be one hole");
                break;
            case FileType::directory:
                require(blocks && raw.size != 0, "a directory has no data");
                break;
            case FileType::symlink:
                require(blocks && raw.size != 0 && raw.size <= kMaxLinkTarget,
                        "a symlink's target has a bad length");
                inode.link_target = data_of(raw);
                require(inode.link_target.find('\0') == std::string::npos, "a symlink's target holds a NUL");
                break;
            case FileType::char_device:
            case FileType::block_device:
                require(raw.format == kPlain && raw.size == 0, "a device has data");
                inode.device_major = device_major(raw.place);
                inode.device_minor = device_minor(raw.place);
                require(inode.type == FileType::block_device || raw.place != 0, "it is a forged whiteout");
                break;
            case FileType::fifo:
                require(raw.format == kPlain && raw.size == 0, "a fifo has data");
                break;
        }
    }

    std::string data_of(const Raw& raw) {
        spend(raw.size);
        const std::uint64_t tail = raw.format == kInline ? raw.size % kBlock : 0;
        const std::uint64_t whole = raw.size - tail;
        std::string data;
        if (whole != 0) data = bytes(std::uint64_t{raw.place} * kBlock, whole);
        if (tail != 0) data += bytes(raw.payload, tail);
        return data;
    }
    std::string contents(std::uint64_t nid) { return data_of(inodes_.at(nid).raw); }

    std::vector<Dirent> entries(const std::string& data, std::uint64_t self, std::uint64_t parent) const {
        const auto require = [&](bool holds, const char* why) {
            if (!holds) corrupt(fmt::format("directory {}: {}", self, why));
        };
        std::vector<Dirent> found;
        std::string_view previous;
        int dots = 0;
        for (std::size_t start = 0; start < data.size(); start += kBlock) {
            const std::string_view block = std::string_view(data).substr(start, kBlock);
            require(block.size() > kDirentSize, "a block is too short for an entry");
            const std::size_t count = get<std::uint16_t>(block.data() + 8) / kDirentSize;
            require(count != 0 && count * kDirentSize == get<std::uint16_t>(block.data() + 8) &&
                        count * kDirentSize < block.size(),
                    "a block has a bad number of entries");
            std::size_t name_at = count * kDirentSize;
            for (std::size_t i = 0; i < count; ++i) {
                const char* entry = block.data() + i * kDirentSize;
                require(get<std::uint16_t>(entry + 8) == name_at, "a name is not where it should be");
                std::size_t end = i + 1 < count ? get<std::uint16_t>(entry + kDirentSize + 8) : block.size();
                require(end > name_at && end <= block.size(), "a name lies outside its block");
                std::string_view name = block.substr(name_at, end - name_at);
                if (i + 1 == count)
                    name = name.substr(0, name.find('\0'));  // what is left of the block is zero
                name_at = end;
                require(!name.empty() && name.size() <= 255 && name.find('/') == name.npos &&
                            name.find('\0') == name.npos,
                        "an entry has a bad name");
                require(previous < name, "its entries are out of order");
                previous = name;
                const std::uint64_t nid = get<std::uint64_t>(entry);
                const FileType type = dirent_file_type(get<std::uint8_t>(entry + 10), self);
                if (name == "." || name == "..") {
                    require(nid == (name == "." ? self : parent) && type == FileType::directory,
                            "'.' or '..' leads elsewhere");
                    ++dots;
                } else {
                    found.push_back({name, nid, type});
                }
            }
        }
        require(dots == 2, "'.' or '..' is missing");
        return found;
    }

    FileType dirent_file_type(std::uint8_t raw, std::uint64_t self) const {
        for (const FileType type : {FileType::regular, FileType::directory, FileType::symlink,
                                    FileType::char_device, FileType::block_device, FileType::fifo}) {
            if (raw == dirent_type(type)) return type;
        }
        corrupt(fmt::format("directory {}: an entry has type {}", self, raw));
    }

    void check_links() const {
        for (const auto& [nid, known] : inodes_) {
            if (known.inode->type != FileType::directory && known.links != known.names) {
                corrupt(fmt::format("inode {} has {} names, expected {}", nid, known.names, known.links));
            }
        }
        if (inode_count_ != inodes_.size())
            corrupt(fmt::format("it has {} inodes, expected {}", inodes_.size(), inode_count_));
    }

    std::string_view image_;
    const std::string& what_;
    std::uint64_t budget_;
    std::uint64_t inode_count_ = 0;
    std::uint64_t root_nid_ = 0;
    std::unordered_map<std::uint64_t, Known> inodes_;
};

}  // namespace

Tree read_erofs(ByteSpan image, const std::string& what) {
    return Reader(image, what).read();
}

}  // namespace surcoat
