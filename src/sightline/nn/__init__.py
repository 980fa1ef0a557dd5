"""The model, in the order data flows: vision -> projector -> fusion -> language (rope, attention, feed-forward).

Dimension names are the same in every signature:

    batch     samples in a batch                  heads      query heads
    seq       positions of this call              kv_heads   key and value heads
    past      positions already in the cache      head_dim   width of a head
    hidden    hidden_size                         experts    n_routed_experts
    vocab     vocab_size                          top_k      num_experts_per_token
    images    images of the whole batch           tokens     batch x seq, flattened
    patches   image tokens of one image           vision     width of the tower
"""
