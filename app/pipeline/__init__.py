"""What happens between the door and the destination: admission, batching, retry, dispatch."""
