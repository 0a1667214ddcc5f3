#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "layers/store/transaction.h"

namespace surcoat {

/// Contents up to this size are hashed in memory before anything is written.
inline constexpr std::size_t kSmallObject = 4 << 20;

/// Writes `bytes` at `offset`, leaving blocks of zeros out: the file must be sized (ftruncate) afterwards.
void write_sparse(int fd, ByteSpan bytes, std::uint64_t offset);

/// What a transaction has gathered; for the files of this folder only.
struct Transaction::State {
    State(Store& given_store, std::string given_purpose);
    ~State();

    // ---- transaction.cc
    /// True if the content need not be written: found live in the catalogue, or staged already.
    bool known(const ObjectId& id);
    ObjectId add(ByteSpan content);
    /// A new file in tx/<number>/, which is made when it is first needed.
    std::filesystem::path temporary(const char* kind);
    /// Moves a finished file to its place beside the object's final name, unless the object is known.
    void adopt(const std::filesystem::path& file, const ObjectId& id, std::uint64_t size);
    /// "ab/<62 hex>.<number>" beneath objects/.
    std::string staged_name(const ObjectId& id) const;
    /// A content that was added, wherever it lies now.
    UniqueFd open(const ObjectId& id) const;
    /// Removes everything that was staged, and the transaction's row. Throws nothing.
    void abandon() noexcept;

    // ---- publish.cc
    void make_durable();
    void publish(const std::function<void(Catalogue::Write&)>& body);

    struct Object {
        std::uint64_t size = 0;
        bool staged = false;  ///< else found in the catalogue
        // known once it is durable
        bool needed = false;  ///< a staged layer refers to it
        std::uint64_t allocated = 0;
    };
    struct Layer {
        LayerRow row;
        std::filesystem::path file;
        std::vector<ObjectId> objects;  ///< each once, in order
    };
    struct Blob {
        BlobRow row;
        std::filesystem::path file;
    };

    Store& store;
    std::string purpose;
    std::int64_t number = 0;
    UniqueFd objects_directory;
    std::unordered_map<ObjectId, Object> objects;
    std::vector<Layer> layers;
    std::vector<Blob> blobs;
    std::vector<LayerBlobRow> layer_blobs;
    unsigned temporaries = 0;
    bool has_directory = false;
    bool over = false;

  private:
    void create_staged(const ObjectId& id, ByteSpan content);
};

}  // namespace surcoat
