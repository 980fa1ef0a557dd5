"""What several kinds of the world's questions are about together, for figures read at a glance: `TOPICS`."""

__all__ = ["TOPICS"]

# A kind that is in none is a topic by itself.
TOPICS: dict[str, tuple[str, ...]] = {
    "descriptions": ("list", "describe", "describe_short"),
    "counts": ("count_all", "count_thing", "count_both", "count_shape", "count_colour"),
    "relations": ("relation", "beside", "nearest"),
    "comparison": ("more", "larger"),
    "categories": ("category_count", "category_which"),
    "two pictures": ("same_different", "added", "removed", "which_picture", "in_picture"),
    "print": (
        "word",
        "number",
        "read_at",
        "read_all",
        "text_where",
        "word_exists",
        "text_colour",
        "text_describe",
    ),
    "digits": ("digit", "digits", "digits_count"),
    "charts": (
        "chart_tallest",
        "chart_smallest",
        "chart_value",
        "chart_label",
        "chart_total",
        "chart_count",
        "chart_more",
        "chart_describe",
    ),
}
