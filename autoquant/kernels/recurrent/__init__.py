"""Recurrent layers over time: the reference loop and the engines that compute it faster."""
