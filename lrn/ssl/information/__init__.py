"""Estimators of mutual information from samples, one a file, and a learner that trains their critics.

Each estimator is a pure function of a score matrix [n, n]: entry (i, j) is the critic's score of the pair
(x_i, y_j), so the diagonal holds pairs of the joint distribution, and the other entries hold pairs of the
product of the marginals. Values are in nats, float32. Each docstring states the known bias.
`lrn.data.gaussians` has pairs with known information and their optimal critic.
"""
