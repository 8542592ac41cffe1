"""The made-up bucket: what upstream would have written about a small world of creators and videos."""
